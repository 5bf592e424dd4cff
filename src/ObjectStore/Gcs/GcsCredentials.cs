using System.Net;
using System.Security.Cryptography;
using System.Text.Json;
using Google.Apis.Auth.OAuth2;
using Google.Apis.Auth.OAuth2.Responses;

namespace Delivery.ObjectStore.Gcs;

/// <summary>
/// Who we are for Google, by <c>Google.Apis.Auth</c>: it reads key files, asks for tokens, keeps them, and asks anew before they end. Nothing here asks for a token per request.
/// </summary>
/// <remarks>
/// The order of the application's default credentials (<c>GOOGLE_APPLICATION_CREDENTIALS</c>, gcloud's file, the machine's service account) is walked here and not by
/// <c>GetApplicationDefaultAsync</c>, because that keeps its first answer for the life of the process, also when it was a failure: a node that starts while the metadata
/// server is away would have no credentials until it is started again.
/// </remarks>
internal sealed class GcsCredentials : IDisposable
{
    /// <summary>The option's value for a test bench that asks for no token.</summary>
    public const string NoneName = "none";

    /// <summary>Objects, and nothing of buckets or policies. What an account may do is a matter of IAM.</summary>
    private const string Scope = "https://www.googleapis.com/auth/devstorage.read_write";

    private const string FileVariable = "GOOGLE_APPLICATION_CREDENTIALS";

    private const string MetadataHostVariable = "GCE_METADATA_HOST";

    private readonly TimeSpan _timeout;
    private readonly Func<CancellationToken, ValueTask<GoogleCredential>>? _find;
    private readonly SemaphoreSlim _alone = new(1);
    private GoogleCredential? _credential;

    private GcsCredentials(Func<CancellationToken, ValueTask<GoogleCredential>>? find, GoogleCredential? credential, TimeSpan timeout) =>
        (_find, _credential, _timeout) = (find, credential, timeout);

    /// <param name="option">A key file's path, <see cref="NoneName"/>, or null for the default, which is looked for at the first call.</param>
    /// <param name="options">Their connect and first-byte time-outs together bound the wait for a token.</param>
    /// <exception cref="StoreException"><see cref="StoreError.Misconfigured"/>: no such file, or none of credentials.</exception>
    public static GcsCredentials Open(string? option, StoreClientOptions options)
    {
        var timeout = options.ConnectTimeout + options.FirstByteTimeout;
        return option switch
        {
            NoneName => new(null, null, timeout),
            null => new(FindDefaultAsync, null, timeout),
            _ => new(_ => new(Read(option, StoreError.Denied)), Read(option, StoreError.Misconfigured), timeout),
        };
    }

    public void Dispose() => _alone.Dispose();

    /// <summary>A token that is good by our clock; null when none is wanted.</summary>
    public async ValueTask<AccessTokenWithHeaders?> TokenAsync(string action, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return _find is null ? null : await GuardAsync(_find, action, KeptAsync, cancellationToken);
    }

    /// <summary>Another token than the one that the service refused. Callers that come together get one.</summary>
    public async ValueTask<AccessTokenWithHeaders> RefreshAsync(AccessTokenWithHeaders refused, string action, CancellationToken cancellationToken) => await GuardAsync(
        _find!,
        action,
        async (credential, token) =>
        {
            await _alone.WaitAsync(token);
            try
            {
                var current = await KeptAsync(credential, token);
                if (current.AccessToken != refused.AccessToken)
                    return current;
                if (credential.UnderlyingCredential is UserCredential user)
                    await user.RefreshTokenAsync(token);
                else if (credential.UnderlyingCredential is ServiceCredential service)
                    await service.RequestAccessTokenAsync(token);
                return await KeptAsync(credential, token);
            }
            finally
            {
                _alone.Release();
            }
        },
        cancellationToken);

    /// <summary>The library's, which asks for one only when it has none that is good.</summary>
    private static Task<AccessTokenWithHeaders> KeptAsync(GoogleCredential credential, CancellationToken cancellationToken) =>
        ((ITokenAccessWithHeaders)credential).GetAccessTokenWithHeadersForRequestAsync(cancellationToken: cancellationToken);

    /// <summary>Bounds it, and says whose fault a failure is.</summary>
    private async ValueTask<AccessTokenWithHeaders> GuardAsync(
        Func<CancellationToken, ValueTask<GoogleCredential>> find,
        string action,
        Func<GoogleCredential, CancellationToken, Task<AccessTokenWithHeaders>> work,
        CancellationToken cancellationToken)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        bound.CancelAfter(_timeout);
        var credential = Volatile.Read(ref _credential);
        try
        {
            if (credential is null)
            {
                // Of several that find it at once, one is kept, so that there is one token.
                var found = await find(bound.Token);
                credential = Interlocked.CompareExchange(ref _credential, found, null) ?? found;
            }

            return await work(credential, bound.Token);
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            // The library goes on waiting for up to five minutes, and every caller with it: whoever comes next starts anew.
            Interlocked.CompareExchange(ref _credential, null, credential);
            throw new StoreException(StoreError.Unavailable, $"Could not {action}: no token from Google within {_timeout.TotalSeconds:0.#} s.", e);
        }
        catch (TokenResponseException e)
        {
            var (error, description) = (e.Error?.Error, e.Error?.ErrorDescription);
            var kind = e.StatusCode is HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests or >= HttpStatusCode.InternalServerError ? StoreError.Unavailable
                // Google's words for an assertion from the past or the future; its code is the one of a wrong key.
                : error == "invalid_grant" && description?.Contains("reasonable timeframe", StringComparison.OrdinalIgnoreCase) == true ? StoreError.ClockSkewed
                : StoreError.Denied;
            throw new StoreException(
                kind,
                $"Could not {action}: Google gives no token ({(e.StatusCode is { } status ? (int)status : 0)} {error}: {description}){(kind == StoreError.ClockSkewed ? "; set this machine's clock" : "")}.");
        }
        catch (Exception e) when (e is HttpRequestException or IOException or TimeoutException or InvalidOperationException)
        {
            // InvalidOperationException: the library has tried for long enough.
            throw new StoreException(StoreError.Unavailable, $"Could not {action}: no token from Google: {e.Message}", e);
        }
        catch (Exception e) when (e is not (StoreException or OperationCanceledException))
        {
            // Federated credentials whose source is wrong: the library has a type for each, whose messages may quote it.
            throw new StoreException(StoreError.Denied, $"Could not {action}: the credentials give no token ({e.GetType().Name}).");
        }
    }

    /// <summary>docs/authentication/application-default-credentials.</summary>
    private static async ValueTask<GoogleCredential> FindDefaultAsync(CancellationToken cancellationToken)
    {
        if (Environment.GetEnvironmentVariable(FileVariable) is { Length: > 0 } named)
            return Read(named, StoreError.Denied);
        var folder = Environment.GetEnvironmentVariable("CLOUDSDK_CONFIG") is { Length: > 0 } configured ? configured
            : Path.Combine(Environment.GetEnvironmentVariable("HOME") ?? "/", ".config", "gcloud");
        var known = Path.Combine(folder, "application_default_credentials.json");
        if (File.Exists(known))
            return Read(known, StoreError.Denied);
        if (Environment.GetEnvironmentVariable(MetadataHostVariable) is not { Length: > 0 } && !await ComputeCredential.IsRunningOnComputeEngine().WaitAsync(cancellationToken))
        {
            throw new StoreException(
                StoreError.Denied,
                $"There are no credentials for Google Cloud: {FileVariable} is not set, gcloud has left none in '{known}', and this is no machine of Google's. The option credentials of the store's URL names a file.");
        }

        return GoogleCredential.FromComputeCredential(new ComputeCredential()).CreateScoped(Scope);
    }

    private static GoogleCredential Read(string path, StoreError error)
    {
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            var type = json.RootElement.TryGetProperty("type", out var named) ? named.GetString() : null;
            return type is "service_account" or "authorized_user" or "external_account" or "impersonated_service_account" or "external_account_authorized_user"
                ? CredentialFactory.FromFile(path, type).CreateScoped(Scope)
                : throw new StoreException(error, $"'{path}' holds no credentials of a kind that Google knows: its type is '{type}'.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StoreException(error, $"The credentials in '{path}' cannot be read: {e.Message}");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or ArgumentException or CryptographicException)
        {
            // Without the exception: it may tell of the file's content.
            throw new StoreException(error, $"'{path}' holds no credentials that can be used ({e.GetType().Name}).");
        }
    }
}
