namespace Delivery.Cli.Demo.Score;

/// <summary>One note as written. Times are in beats from the start of the piece; velocity is 0 to 1.</summary>
internal readonly record struct Note(double Beat, double Beats, int Pitch, double Velocity);
