using System.Text;
namespace Delivery.ObjectStore;
public class Smoke {
  [Fact] public async Task Roundtrip() {
    var root = Directory.CreateTempSubdirectory().FullName;
    var s = FileStore.Open(root);
    Assert.True(s.KeepsMetadata);
    var k = ObjectKey.Parse("audio/x.ogg");
    var i = await s.WriteAsync(k, new MemoryStream("hello"u8.ToArray()), new ObjectWrite { ContentType = "audio/x" }, default);
    Assert.Equal(i, await s.FindAsync(k, default));
    await using var r = await s.OpenReadAsync(k, new ObjectRange(1, 3), default);
    Assert.Equal("ell", new StreamReader(r!.Content).ReadToEnd());
    await foreach (var e in s.ListAsync("au", null, default)) Assert.Equal(k, e.Key);
    Assert.True(await s.DeleteAsync(k, default));
    Assert.Equal([".store"], Directory.GetFileSystemEntries(root).Select(Path.GetFileName));
    Directory.Delete(root, true);
  }
}
