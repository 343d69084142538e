-- Put a token in; the pool lives as long as its longest-lived token.
-- KEYS: pool.  ARGV: "exp", token, lifetime (ms).
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
