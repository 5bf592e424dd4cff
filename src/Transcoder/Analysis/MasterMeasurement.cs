using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.Analysis;

/// <summary>What ffmpeg measured on the decoded master.</summary>
/// <param name="Samples">Decoded samples per channel.</param>
/// <param name="NotNumbers">Samples that are no number or infinite (float masters).</param>
/// <param name="Loudness">Null when nothing passes the gate.</param>
/// <param name="Report">Everything else that goes into the manifest.</param>
/// <param name="Lufs">Integrated loudness by the name of each loudness filter of the run, in LUFS; -70 or less stands for silence.</param>
internal sealed record MasterMeasurement(long Samples, double NotNumbers, Loudness? Loudness, QualityReport Report, IReadOnlyDictionary<string, double> Lufs);
