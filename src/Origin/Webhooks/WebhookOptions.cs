namespace Delivery.Origin.Webhooks;

/// <summary>Whom the origin tells of every track that is finished. docs/farm.md says how a receiver checks it.</summary>
public sealed class WebhookOptions
{
    /// <summary>Where events are posted: https; http only to a loopback address, or with <see cref="AllowHttp"/>. No user and no fragment. Never logged beyond its host: paths hold secrets at many receivers.</summary>
    public string Url { get; set; } = "";

    /// <summary>
    /// A file of 1 to 4 lines, each a signing secret as Standard Webhooks has it: <c>whsec_</c> and the base64 of 24 to 64 bytes. With more than one,
    /// every event is signed by each, so that a receiver can change from one to the next.
    /// </summary>
    public string SecretPath { get; set; } = "";

    /// <summary>Which of <c>track.ready</c> and <c>track.failed</c>. Null: both.</summary>
    public IReadOnlyList<string>? Events { get; set; }

    /// <summary>Lets events go over plain http, where anybody on the way can read them. Default false.</summary>
    public bool AllowHttp { get; set; }
}
