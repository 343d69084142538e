-- Replace what is known of a session, unless it was replaced or ended since the caller read it.
-- KEYS: session.  ARGV: what the caller read, what is to stand, lifetime (ms).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
