-- Have a session alone, or learn for how long to wait, or that it is over.
-- KEYS: session, lock, wake.  ARGV: fence, lease (ms).
local sealed = redis.call('GET', KEYS[1])
if not sealed then
  return {'over', ''}
end
local holder = redis.call('GET', KEYS[2])
-- The same fence twice is one caller whose first reply was lost.
if holder and holder ~= ARGV[1] then
  return {'wait', redis.call('PTTL', KEYS[2])}
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
-- What woke the waiters of an earlier holder must not wake those of this one.
redis.call('DEL', KEYS[3])
return {'held', sealed}
