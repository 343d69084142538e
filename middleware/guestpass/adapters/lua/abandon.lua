-- End a lease without a result, and wake those who wait: one of them leads next.
-- KEYS: lock, wake.  ARGV: fence.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('XADD', KEYS[2], '*', 'r', 'abandoned')
redis.call('PEXPIRE', KEYS[2], 5000)
return 1
