using Delivery.Cli.CommandLine;

return await DeliveryCommand.RunAsync(args, Console.Out, Console.Error, CancellationToken.None);
