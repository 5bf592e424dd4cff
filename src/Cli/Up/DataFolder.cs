using Delivery.Cli.CommandLine;
using Delivery.Origin.ApiKeys;
using Delivery.TokenAuth;

namespace Delivery.Cli.Up;

/// <summary>
/// Everything that <c>delivery up</c> keeps: <c>store/</c> (the object store), <c>keys.json</c> (the key ring), <c>api-key</c>,
/// <c>cache/</c> (the edge's disk tier), <c>work/</c> (the transcoder's private folders), <c>demo/</c> (the demo's masters), <c>up.json</c>. One process holds it at a time.
/// </summary>
internal sealed class DataFolder : IDisposable
{
    private readonly FileStream _lock;

    private DataFolder(string path, FileStream held) => (Path, _lock) = (path, held);

    public string Path { get; }

    public string Store => System.IO.Path.Combine(Path, "store");

    public string KeyRing => System.IO.Path.Combine(Path, "keys.json");

    public string Cache => System.IO.Path.Combine(Path, "cache");

    public string Work => System.IO.Path.Combine(Path, "work");

    public string Demo => System.IO.Path.Combine(Path, "demo");

    /// <exception cref="CliException">The folder cannot be made, read or written, or another process holds it.</exception>
    public static DataFolder Open(string path)
    {
        path = System.IO.Path.GetFullPath(path);
        var lockPath = System.IO.Path.Combine(path, "up.lock");
        try
        {
            Directory.CreateDirectory(path);
            // FileShare.None is an advisory lock (flock): it goes with the process, however that ends.
            return new DataFolder(path, new FileStream(lockPath, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
        }
        catch (UnauthorizedAccessException e)
        {
            throw new CliException(ExitCode.Environment, $"the data folder {path} cannot be used: {e.Message} Give another with --data DIR, or mend its permissions.", e);
        }
        catch (IOException e) when (File.Exists(lockPath))
        {
            throw new CliException(ExitCode.Environment, $"the data folder {path} is in use by another `delivery up` ({e.Message})", e);
        }
        catch (IOException e)
        {
            throw new CliException(ExitCode.Environment, $"the data folder {path} cannot be used: {e.Message}", e);
        }
    }

    /// <summary>Makes the key ring on first use; a broken one is reported, never replaced.</summary>
    public void EnsureKeyRing()
    {
        if (!File.Exists(KeyRing))
            PrivateFile.Replace(KeyRing, System.Text.Encoding.UTF8.GetBytes(TokenAuth.KeyRing.Generate().ToJson()));
    }

    /// <summary>The local API key (roles ingest, playback and operate), made on first use and kept, so that scripts outlive a restart.</summary>
    public (string Secret, string Sha256) EnsureApiKey()
    {
        var path = System.IO.Path.Combine(Path, "api-key");
        if (File.Exists(path))
        {
            var kept = File.ReadAllText(path).Trim();
            return (kept, ApiKey.Hash(kept));
        }

        var made = ApiKey.Generate();
        PrivateFile.Replace(path, System.Text.Encoding.UTF8.GetBytes(made.Secret));
        return made;
    }

    public void Dispose()
    {
        // up.json names servers that are gone once this process is.
        File.Delete(UpFile.PathIn(Path));
        _lock.Dispose();
    }
}
