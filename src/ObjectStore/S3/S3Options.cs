using System.Globalization;
using Amazon;
using Amazon.Runtime;
using Amazon.Runtime.CredentialManagement;
using Amazon.S3;
using Delivery.ObjectStore.Remote;

namespace Delivery.ObjectStore.S3;

/// <summary>What an <c>s3://</c> URL says besides bucket and prefix (docs/configuration.md), judged once and all of it.</summary>
internal sealed record S3Options
{
    /// <summary>S3 refuses smaller parts, the last one apart.</summary>
    public const int MinPartSize = 5 << 20;

    /// <summary>A part is in memory, twice, until the server has it.</summary>
    public const int MaxPartSize = 1 << 30;

    /// <summary>Up to here one request costs less than the three of a multipart upload; two of them are in memory per write.</summary>
    public const int DefaultPartSize = 8 << 20;

    /// <summary>What most servers that are not AWS call themselves, when they care.</summary>
    private const string DefaultRegion = "us-east-1";

    /// <summary>Null is AWS.</summary>
    public Uri? Endpoint { get; private init; }

    public string? Region { get; private init; }

    public string? Profile { get; private init; }

    /// <summary>The bucket in the path, not in the host's name. Default: with an endpoint.</summary>
    public bool PathStyle { get; private init; }

    /// <summary>The SDK's own choice of CRCs on everything that is sent, which AWS wants and most others refuse; else only where the protocol demands one.</summary>
    public bool ChecksumsWhenSupported { get; private init; }

    public int PartSize { get; private init; }

    /// <summary>The server honours If-Match and If-None-Match on CompleteMultipartUpload. AWS does; RadosGW 16.2 ignores them.</summary>
    public bool ConditionalMultipart { get; private init; }

    /// <exception cref="StoreException"><see cref="StoreError.Misconfigured"/>; the message names every option that is wrong.</exception>
    public static S3Options Of(StoreUrl url)
    {
        var problems = new List<string>();
        var endpoint = url.Option("endpoint") is { } text ? AsEndpoint(text) : null;
        if (url.Option("endpoint") is not null && endpoint is null)
            problems.Add("'endpoint' is an http or https address without path, query and credentials");
        var region = url.Option("region");
        if (region is not null && !region.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-'))
            problems.Add("'region' is written with a-z, 0-9 and '-'");
        var partSize = DefaultPartSize;
        if (url.Option("partSize") is { } size && (!int.TryParse(size, NumberStyles.None, CultureInfo.InvariantCulture, out partSize) || partSize is < MinPartSize or > MaxPartSize))
            problems.Add($"'partSize' is {MinPartSize} to {MaxPartSize} bytes");
        var options = new S3Options
        {
            Endpoint = endpoint,
            Region = region,
            Profile = url.Option("profile"),
            PathStyle = Choice("pathStyle", "true", "false", endpoint is not null),
            ChecksumsWhenSupported = Choice("checksums", "whenSupported", "whenRequired", true),
            PartSize = partSize,
            ConditionalMultipart = Choice("conditionalMultipart", "true", "false", true),
        };
        return problems.Count == 0 ? options : throw new StoreException(StoreError.Misconfigured, $"{url} is wrong: {string.Join("; ", problems)}.");

        bool Choice(string name, string yes, string no, bool otherwise)
        {
            if (url.Option(name) is not { } value)
                return otherwise;
            if (value != yes && value != no)
                problems.Add($"'{name}' is {yes} or {no}");
            return value == yes;
        }
    }

    /// <summary>A client whose only retries and time-outs are ours, on connections that are ours.</summary>
    /// <exception cref="StoreException"><see cref="StoreError.Misconfigured"/>: no such profile, or no region where AWS needs one.</exception>
    public AmazonS3Client Client(HttpClient http)
    {
        var config = new AmazonS3Config
        {
            ForcePathStyle = PathStyle,
            RequestChecksumCalculation = ChecksumsWhenSupported ? RequestChecksumCalculation.WHEN_SUPPORTED : RequestChecksumCalculation.WHEN_REQUIRED,
            // Reads are ranges, of which S3 keeps no checksum, and the SDK's check would speak when the stream is disposed.
            ResponseChecksumValidation = ResponseChecksumValidation.WHEN_REQUIRED,
            HttpClientFactory = new OneClient(http),
            BufferSize = UploadContent.PieceSize,
            MaxErrorRetry = 0,
            MaxStaleConnectionRetries = 0,
            ThrottleRetries = false,
            // A clock that is wrong is said, not worked around: tokens and embargoes are judged by it too.
            DisableClockSkewCorrection = true,
        };
        CredentialProfile? profile = null;
        AWSCredentials? credentials = null;
        if (Profile is not null)
        {
            var profiles = new CredentialProfileStoreChain();
            if (!profiles.TryGetProfile(Profile, out profile) || !profiles.TryGetAWSCredentials(Profile, out credentials))
                throw new StoreException(StoreError.Misconfigured, $"AWS's shared configuration has no profile '{Profile}' with credentials.");
        }

        if (Endpoint is not null)
        {
            config.ServiceURL = Endpoint.AbsoluteUri;
            config.AuthenticationRegion = Region ?? DefaultRegion;
        }
        else
        {
            // Not from instance metadata: opening a store asks nobody.
            config.RegionEndpoint = (Region is not null ? RegionEndpoint.GetBySystemName(Region) : profile?.Region ?? FallbackRegionFactory.GetRegionEndpoint(includeInstanceMetadata: false))
                ?? throw new StoreException(StoreError.Misconfigured, "No region: add '?region=…' to the store's URL, or set AWS_REGION.");
        }

        return credentials is null ? new AmazonS3Client(config) : new AmazonS3Client(credentials, config);
    }

    private static Uri? AsEndpoint(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" && uri.AbsolutePath == "/" && uri.Query.Length + uri.Fragment.Length + uri.UserInfo.Length == 0 ? uri : null;

    private sealed class OneClient(HttpClient http) : HttpClientFactory
    {
        public override HttpClient CreateHttpClient(IClientConfig clientConfig) => http;

        public override bool UseSDKHttpClientCaching(IClientConfig clientConfig) => false;

        public override bool DisposeHttpClientsAfterUse(IClientConfig clientConfig) => false;
    }
}
