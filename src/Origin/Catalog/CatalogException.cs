namespace Delivery.Origin.Catalog;

/// <summary>A manifest could not be changed, because others changed it faster than we could (<see cref="CatalogStore.MaxAttempts"/> times). A repeat can help.</summary>
internal sealed class CatalogConflictException(string key) : Exception($"'{key}' kept changing while it was being updated.");

/// <summary>A manifest is not what this version writes: damaged, or of a newer format. A repeat cannot help.</summary>
internal sealed class CatalogCorruptException(string key, string why, Exception? inner = null) : Exception($"'{key}' is not a manifest of format 1: {why}.", inner);
