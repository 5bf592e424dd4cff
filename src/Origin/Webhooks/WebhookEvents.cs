using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Delivery.Origin.Api;
using Delivery.Origin.Catalog;

namespace Delivery.Origin.Webhooks;

/// <summary>What receivers are told.</summary>
internal static class WebhookEvents
{
    public const string Ready = "track.ready";

    public const string Failed = "track.failed";

    public static readonly IReadOnlyList<string> All = [Ready, Failed];

    /// <summary>What a track that has just become ready or failed has to tell. The id comes from the track and its revision, so it is the same however often it is sent, and by whom.</summary>
    public static Announcement Of(TrackManifest ended)
    {
        var jobId = JobIds.Of(ended.TrackId, ended.Master!.UploadId);
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{jobId} {ended.Revision}"));
        return new Announcement
        {
            Id = "evt_" + Convert.ToHexStringLower(hash)[..32],
            Type = ended.State == MasterState.Ready ? Ready : Failed,
            At = ended.UpdatedAt,
            JobId = jobId,
            Failure = ended.Failure,
            Ladder = ended.State == MasterState.Ready ? ended.Published!.Ladder : ended.Master.Ladder,
            MasterSha256 = ended.Master.Sha256,
            DurationMs = ended.State == MasterState.Ready ? (long)ended.Published!.Master.Duration.TotalMilliseconds : null,
        };
    }

    /// <summary>The body: from the announcement and what never changes of a track, so the same bytes at every try.</summary>
    public static byte[] Body(TrackManifest track, Announcement announcement) => JsonSerializer.SerializeToUtf8Bytes(
        new WebhookBody(announcement.Type, announcement.At, new WebhookData(
            track.TrackId, track.ReleaseId, announcement.JobId, announcement.MasterSha256, announcement.Ladder, announcement.DurationMs, announcement.Failure)),
        WebhookJson.Default.WebhookBody);
}

/// <summary>An event that not every receiver has taken yet: part of the track's manifest, written with what it tells.</summary>
internal sealed record Announcement
{
    public required string Id { get; init; }

    public required string Type { get; init; }

    public required DateTimeOffset At { get; init; }

    public required string JobId { get; init; }

    public required string MasterSha256 { get; init; }

    public required string Ladder { get; init; }

    public long? DurationMs { get; init; }

    public TrackFailure? Failure { get; init; }
}

internal sealed record WebhookBody(string Type, DateTimeOffset Timestamp, WebhookData Data);

internal sealed record WebhookData(string TrackId, string ReleaseId, string JobId, string MasterSha256, string Ladder, long? DurationMs, TrackFailure? Failure);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    Converters = [typeof(WireEnum<Delivery.Transcoder.Jobs.JobFailure>)])]
[JsonSerializable(typeof(WebhookBody))]
internal sealed partial class WebhookJson : JsonSerializerContext;
