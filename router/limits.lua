-- Limits of all routers, kept in Redis: what was asked since the last call, in one go.
--
-- The same arithmetic as limits.py, in microseconds of this server's clock since 2026 (fewer digits
-- than since 1970: a fraction of a microsecond is kept). Atomic, because a script is.
--
-- KEYS, two for each tenant: a hash  r, t: when the minute's requests and tokens are whole again
--                                    d, u: the day that was last counted, and its tokens
--                            a sorted set of leases, by when they run out: requests under way
-- ARGV: how long a lease runs, in microseconds; operations as JSON, k being the tenant's number
--   [0, k, lease, requests, tokens, budget, most, need]   let in; a limit of -1 is none
--   [1, k, lease, more, day, day_more]                    settle: microseconds, and that day's tokens
--   [2, k, lease, …]                                      still under way
-- Returns JSON, for each "let in": [refused, wait, requests whole in, tokens whole in, day, used]
--
-- Only what holds a lease is settled, and only once: a settlement may be sent again, and one that
-- Redis knows nothing of any more (it lost its memory) gives nothing back that was never taken.
local MINUTE, BUSY, NEVER, DAY = 60e6, 5e5, 120e6, 86400e6
local EPOCH = 1767225600
local KEPT = 3600e6 -- a lease that ran out can be settled for so long; it holds no place meanwhile
local CONCURRENT, REQUESTS, TOKENS, BUDGET = 1, 2, 3, 4

local time = redis.call('TIME')
local now = (tonumber(time[1]) - EPOCH) * 1e6 + tonumber(time[2])
local today = math.floor(tonumber(time[1]) / 86400)
local midnight = (today + 1) * DAY - EPOCH * 1e6
local lease_us = tonumber(ARGV[1])

local function keep(key, us)
  local ms = math.ceil(us / 1000) + 60000
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
end

local function whole_in(stored)
  return math.max(0, (tonumber(stored or now)) - now)
end

local function let_in(state, leases, lease, requests, tokens, budget, most, need)
  local row = redis.call('HMGET', state, 'r', 't', 'd', 'u')
  local r, t = whole_in(row[1]), whole_in(row[2])
  local used = tonumber(row[3] or -1) == today and tonumber(row[4]) or 0
  if redis.call('ZSCORE', leases, lease) then -- sent twice: it is in already
    return {0, 0, r, t, today, used}
  end
  local refused, wait = 0, 0
  if most >= 0 and redis.call('ZCOUNT', leases, now, '+inf') >= most then
    refused, wait = CONCURRENT, BUSY
  end
  local r_more, t_more, u_more = 0, 0, 0
  if requests >= 0 then
    r_more = requests > 0 and MINUTE / requests or NEVER
    local over = r + r_more - MINUTE
    if over > wait + 1 then refused, wait = REQUESTS, over end
  end
  if tokens >= 0 then
    t_more = tokens > 0 and math.min(need, tokens) * MINUTE / tokens or NEVER
    local over = t + t_more - MINUTE
    if over > wait + 1 then refused, wait = TOKENS, over end
  end
  if budget >= 0 then
    u_more = math.max(1, math.min(need, budget))
    if used + u_more > budget then refused, wait = BUDGET, midnight - now end
  end
  if refused > 0 then return {refused, wait, r, t, today, used} end
  r, t, used = r + r_more, t + t_more, used + u_more
  local kept = math.max(r, t)
  if budget >= 0 then
    redis.call('HSET', state, 'r', now + r, 't', now + t, 'd', today, 'u', used)
    kept = math.max(kept, midnight - now)
  else
    redis.call('HSET', state, 'r', now + r, 't', now + t)
  end
  keep(state, kept)
  redis.call('ZREMRANGEBYSCORE', leases, '-inf', now - KEPT)
  redis.call('ZADD', leases, now + lease_us, lease)
  keep(leases, lease_us + KEPT)
  return {0, 0, r, t, today, used}
end

local function settle(state, leases, lease, more, day, day_more)
  if redis.call('ZREM', leases, lease) == 0 then return end
  local row = redis.call('HMGET', state, 't', 'd', 'u')
  if more ~= 0 then
    local t = math.max(0, whole_in(row[1]) + more)
    redis.call('HSET', state, 't', now + t)
    keep(state, t)
  end
  if day >= 0 and tonumber(row[2] or -1) == day then
    redis.call('HSET', state, 'u', math.max(0, tonumber(row[3]) + day_more))
  end
end

local replies = {}
for _, op in ipairs(cjson.decode(ARGV[2])) do
  local state, leases = KEYS[2 * op[2] - 1], KEYS[2 * op[2]]
  if op[1] == 0 then
    replies[#replies + 1] = let_in(state, leases, op[3], op[4], op[5], op[6], op[7], op[8])
  elseif op[1] == 1 then
    settle(state, leases, op[3], op[4], op[5], op[6])
  else
    for i = 3, #op do redis.call('ZADD', leases, 'XX', now + lease_us, op[i]) end
    keep(leases, lease_us + KEPT)
  end
end
return #replies > 0 and cjson.encode(replies) or '[]'
