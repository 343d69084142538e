-- Start a pause, or make a present one longer, never shorter; without a length: only look.
-- KEYS: pause.  ARGV: length (ms, 0 to look), reason.
-- Returns: milliseconds left, reason.
local left = redis.call('PTTL', KEYS[1])
local length = tonumber(ARGV[1])
if length > 0 and length > left then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', length)
  return {length, ARGV[2]}
end
return {left, redis.call('GET', KEYS[1]) or ''}
