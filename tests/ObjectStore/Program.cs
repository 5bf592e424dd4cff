using System.Text;
using Xunit.Runner.InProc.SystemConsole;

[assembly: CollectionBehavior(DisableTestParallelization = true)] // One of the tests measures the process's memory.

namespace Delivery.ObjectStore;

/// <summary>The test runner, or, when a test starts it so, another process that works on the same store.</summary>
internal static class Program
{
    /// <summary>Creates <c>race/0</c> to <c>race/{count-1}</c> if absent; prints the numbers it won.</summary>
    public const string Race = "--store-race";

    /// <summary>Writes objects until it is killed; prints the number of each one after it is acknowledged.</summary>
    public const string WriteForever = "--store-write-forever";

    public static async Task<int> Main(string[] args)
    {
        if (args is not [Race or WriteForever, var root, var argument])
            return await ConsoleRunner.Run(args);
        var store = FileStore.Open(root);
        var number = int.Parse(argument);
        Console.WriteLine("ready");
        Console.ReadLine();
        if (args[0] == Race)
        {
            for (var i = 0; i < number; i++)
            {
                try
                {
                    await store.PutAsync(ObjectKey.Parse($"race/{i}"), Encoding.ASCII.GetBytes($"{Environment.ProcessId}"), WritePrecondition.Absent);
                    Console.WriteLine(i);
                }
                catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
                {
                }
            }

            return 0;
        }

        var random = new Random(number);
        for (var i = 0; ; i++)
        {
            var bytes = KilledObject(i, random.Next(1, 400_000));
            await store.PutAsync(ObjectKey.Parse($"killed/{number}/{i % 20}"), bytes);
            Console.WriteLine(i);
        }
    }

    /// <summary>An object that says itself whether it is whole: number, length, and bytes that follow from both.</summary>
    public static byte[] KilledObject(int number, int length)
    {
        var bytes = TestContent.Bytes(8 + length, number);
        BitConverter.TryWriteBytes(bytes, number);
        BitConverter.TryWriteBytes(bytes.AsSpan(4), length);
        return bytes;
    }
}
