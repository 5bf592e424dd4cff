using System.Net;
using System.Net.Sockets;
using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests.Cage;

/// <summary>Masters that are instructions to read something else. They fail, and nothing else is read.</summary>
public sealed class DisguiseTests(SharedFarm shared)
{
    [Theory]
    [InlineData("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n")]
    [InlineData("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{local}\n#EXT-X-ENDLIST\n")]
    [InlineData("ffconcat version 1.0\nfile '{local}'\nfile '{url}'\n")]
    [InlineData("<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"><Period><AdaptationSet mimeType=\"audio/mp4\"><Representation id=\"1\" bandwidth=\"1\"><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>")]
    [InlineData("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n")]
    public async Task Playlist_NamedWav_ReadsNothing(string template)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var local = Path.Combine(shared.Farm.Folder, $"{Guid.NewGuid():N}.wav");
        await File.WriteAllBytesAsync(local, Master.OfSeconds(1.5).ToWav());
        var master = template
            .Replace("{url}", $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/a.wav", StringComparison.Ordinal)
            .Replace("{local}", local, StringComparison.Ordinal);
        var report = await shared.Farm.RunAsync(System.Text.Encoding.UTF8.GetBytes(master));
        Assert.Equal((JobPhase.Failed, JobFailure.UnsupportedFormat), (report.Phase, report.Failure));
        Assert.False(listener.Pending());
    }
}
