namespace Delivery.Cli.Demo;

/// <summary>Adds up what the tracks' renderers have done, and reports each whole percent once.</summary>
internal sealed class RenderProgress(long totalFrames, IProgress<double>? listener)
{
    private long _done;

    public void Advance(long frames)
    {
        var done = Interlocked.Add(ref _done, frames);
        if (done * 100 / totalFrames != (done - frames) * 100 / totalFrames)
            listener?.Report((double)done / totalFrames);
    }
}
