using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Results;
using Delivery.Transcoder.TimeMaps;

namespace Delivery.Transcoder.Verification;

/// <summary>An output that passed every check, with what was found out on the way.</summary>
internal sealed record VerifiedRendition(PlannedRendition Planned, AudioLayout Layout, FileDigests Digests, Gapless Gapless, double? IntegratedLufs);
