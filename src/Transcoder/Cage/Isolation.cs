using System.Text.Json.Serialization;

namespace Delivery.Transcoder.Cage;

/// <summary>What keeps the tools from the machine, beside their limits and whitelists; weakest first. The name is also the metric label and the log word.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Isolation>))]
public enum Isolation
{
    /// <summary>The system allows no namespaces: the tools have the worker's own rights, and only ffmpeg's whitelists stand.</summary>
    None,

    /// <summary>An empty network namespace (needs root). The tools see the worker's files.</summary>
    NetworkNamespace,

    /// <summary>An empty network namespace inside a user namespace of its own. The tools see the worker's files.</summary>
    UserNamespace,

    /// <summary>bubblewrap: namespaces of their own for everything, no capability, and of the files only programs, libraries and the job's folder.</summary>
    Sandbox,
}
