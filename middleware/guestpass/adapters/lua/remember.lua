-- Record a successor, end the lease and wake those who wait. The first writer wins, even one whose lease
-- has run out meanwhile: its token is genuine and spent, and a second one would split the guests.
-- KEYS: successor, lock, wake.  ARGV: fence, successor, lifetime (ms), one that cannot be opened ("" if none).
local winner = redis.call('GET', KEYS[1])
if not winner or winner == ARGV[4] then
  winner = ARGV[2]
  redis.call('SET', KEYS[1], winner, 'PX', ARGV[3])
end
-- The fence: a holder that was overtaken must not end the lease of the one who overtook it.
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
redis.call('XADD', KEYS[3], '*', 'r', 'remembered')
redis.call('PEXPIRE', KEYS[3], 5000)
return winner
