namespace Delivery.ObjectStore.Files;

public sealed class FileStoreConformance() : ObjectStoreConformance(() =>
{
    var folder = new TempFolder();
    return Task.FromResult<(IObjectStore, Func<Task>)>((FileStore.Open(folder.Path), () => Task.Run(folder.Dispose)));
});
