-- What rivals.py reads of a run of wrk: one line of JSON. Only `done` is defined, so no request is the slower for it.
function done(summary, latency, _)
  local errors, took = summary.errors, {}
  for number = 1, #latency do
    local us, count = latency(number)
    took[number] = string.format('[%d, %d]', us, count)
  end
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "latencies": [%s], '
    .. '"status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
    summary.requests, summary.duration, table.concat(took, ", "),
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
