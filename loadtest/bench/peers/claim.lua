--[[
The script of every Redis peer: one atomic call a request.

KEYS  1 vouchers left   2 set of those who have one   3 stream for whoever records them later
ARGV  1 user
RETURNS  1 won, 0 sold out, 2 has one already
]]
if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then return 2 end
if tonumber(redis.call('GET', KEYS[1]) or 0) <= 0 then return 0 end
redis.call('DECR', KEYS[1])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], '*', 'user', ARGV[1])
return 1
