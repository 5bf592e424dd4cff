using Delivery.Cli.CommandLine;

using var signals = new StopSignals();
return await DeliveryCommand.RunAsync(args, Console.Out, Console.Error, signals.Asked);
