-- Count hits in a moving window: a list of instants, newest first, which the server's own clock dates, so
-- that hosts whose clocks differ still share one window.
-- KEYS: hits.  ARGV: limit, window (ms), cost (0 looks without counting).
-- Returns: allowed (0 or 1), remaining, milliseconds until one more hit fits.
local limit, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = redis.call('LINDEX', KEYS[1], -1)
while oldest and tonumber(oldest) <= now - window do
  redis.call('RPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], -1)
end
local used = redis.call('LLEN', KEYS[1])
local allowed = used + math.max(cost, 1) <= limit
if allowed and cost > 0 then
  for _ = 1, cost do
    redis.call('LPUSH', KEYS[1], now)
  end
  redis.call('PEXPIRE', KEYS[1], window)
  used = used + cost
  oldest = oldest or now
end
local wait = 0
if used >= limit then
  wait = math.max(0, tonumber(oldest) + window - now)
end
return {allowed and 1 or 0, limit - used, wait}
