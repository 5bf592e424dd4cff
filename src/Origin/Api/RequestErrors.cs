namespace Delivery.Origin.Api;

/// <summary>Collects every fault of one request, so that its author mends them in one go.</summary>
internal sealed class RequestErrors
{
    /// <summary>More faults than this help nobody; the rest is counted in one last line.</summary>
    public const int Max = 1000;

    private readonly List<RequestError> _errors = [];
    private int _unlisted;

    public bool Any => _errors.Count > 0;

    public void Add(string pointer, string detail)
    {
        if (_errors.Count < Max)
            _errors.Add(new RequestError(pointer, detail));
        else
            _unlisted++;
    }

    public IReadOnlyList<RequestError> ToList() =>
        _unlisted == 0 ? _errors : [.. _errors, new RequestError("", $"{_unlisted} further faults are not listed")];
}
