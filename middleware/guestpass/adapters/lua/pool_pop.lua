-- Take out the token that expires first, after dropping those that expire too soon to be of use.
-- KEYS: pool (sorted by "exp").  ARGV: least "exp".
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
return redis.call('ZPOPMIN', KEYS[1])[1] or false
