-- Append to the list of revocations, and let it live as long as its longest-lived entry.
-- KEYS: list (a stream).  ARGV: entry, lifetime (ms), most entries.
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'r', ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
