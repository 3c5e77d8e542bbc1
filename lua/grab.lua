#!lua name=grab
--[[
The gate: every write to a stock's keys, as one function library.

A stock is one row of the counter: a fixed number of vouchers of one class and tier in one
round.  README.md beside this file is the table of keys.  All keys of a call share one hash tag.

The fuse is `open_epochs`, a local of this library.  Valkey and Redis neither persist nor
replicate it, so a server that was restarted, restored or promoted answers CLOSED by itself,
whatever its data say, until a recovery has rebuilt the stock from the ledger and opened it
under a higher epoch.  Reloading the library (FUNCTION LOAD REPLACE) closes every stock at once.
]]

local BATCH_MAX = 1000       -- users, numbers or entries a call may carry; keeps unpack() and the loop bounded

local open_epochs = {}       -- the fuse: key of the stock's rules -> epoch it was opened under
local probes = {}            -- nonces of fuse proofs, see grab_probe
local latest_ms = 0          -- the latest instant this library has seen or been told of

-- Milliseconds by the server's clock, never going back while the library is loaded: an hour set
-- back by hand must not close a stock that has begun, nor give a stream id below the last one.
local function clock()
    local time = redis.call('TIME')
    local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    if now_ms > latest_ms then latest_ms = now_ms end
    return latest_ms
end

local function run_id()
    return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

-- Two fuses: the library's own memory, and the identity of the server process that was opened.
local function is_open(rules_key, epoch, opened_run_id)
    return epoch > 0 and open_epochs[rules_key] == epoch and run_id() == opened_run_id
end

local function integer(number)
    return string.format('%.0f', number)
end

-- Order of stream ids: negative, zero or positive as a is before, at or after b.
local function compare_ids(a, b)
    local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
    local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
    if a_ms == b_ms then return tonumber(a_seq) - tonumber(b_seq) end
    return tonumber(a_ms) - tonumber(b_ms)
end

local function stream_id_of(holding)
    return string.match(holding, '^%d+:%d+:(%d+%-%d+)$')
end

local function letters_for(users, letter)
    return string.rep(letter, #users)
end

--[[
grab_claim: give each of many users one voucher of this stock, or say why not.

KEYS
  1  rules             hash
  2  free              list
  3  holders           hash
  4  claims            stream
  5  refused           hash
  6  round_taken       hash
  7  class_tier_taken  hash

ARGV
  1..n  user_ref, at most 1000, in order of arrival

RETURNS  { epoch, now_ms, letters, holding, ... }; one letter a user, earlier letters win over
         later ones; one holding ("claim_no:epoch:stream_id") for each H and W, in order
  C  CLOSED       the fuse is not open: nothing here may be trusted yet; epoch is 0
  R  REFUSED      held, but the ledger refused the entry; a recovery decides
  H  HELD         this user won before: the same holding again
  N  NOT_STARTED  before opens_ms
  E  ENDED        at or after closes_ms
  P  PAUSED
  S  SOLD_OUT
  L  LIMIT        the user has as many vouchers as the campaign's other limits allow
  W  WON

EMITS  claims: v=1, epoch, claim_no, user_ref[, nth]; the id's milliseconds are the instant of the claim
COST   O(users); three reads a batch, three writes and one entry a winner
WHY    HELD outranks window, pause and stock: a client that lost our first answer must still be
       told of its voucher.  Reads come first, the write that can be refused (XADD) before the
       others: the server keeps the writes of a function that fails half way.
]]
local function claim(keys, users)
    local rules_key, free, holders, claims, refused = keys[1], keys[2], keys[3], keys[4], keys[5]
    local round_taken, class_tier_taken = keys[6], keys[7]
    if #users < 1 or #users > BATCH_MAX then
        return redis.error_reply('ERR grab_claim takes 1 to ' .. BATCH_MAX .. ' users')
    end

    local now_ms = clock()
    local rules = redis.call('HMGET', rules_key, 'epoch', 'run_id', 'opens_ms', 'closes_ms',
        'paused', 'round_limit', 'class_tier_limit')
    local epoch = tonumber(rules[1] or 0)
    if not is_open(rules_key, epoch, rules[2]) then
        return { 0, now_ms, letters_for(users, 'C') }
    end

    local refusal = nil
    if now_ms < tonumber(rules[3]) then refusal = 'N'
    elseif now_ms >= tonumber(rules[4]) then refusal = 'E'
    elseif rules[5] == '1' then refusal = 'P' end
    local round_limit, class_tier_limit = tonumber(rules[6] or 0), tonumber(rules[7] or 0)

    local held = redis.call('HMGET', holders, unpack(users))
    local any_refused = redis.call('EXISTS', refused) == 1
    local numbers = {}
    if not refusal then numbers = redis.call('LRANGE', free, 0, #users - 1) end

    local epoch_text, at = integer(epoch), integer(now_ms) .. '-*'
    local letters, holdings, won, new_holders = {}, {}, 0, {}
    local holding_of = {}   -- winners of this very batch: a user may stand in it twice
    for i, user in ipairs(users) do
        local holding = held[i] or holding_of[user]
        local letter = refusal
        if holding then
            letter = 'H'
            if any_refused and redis.call('HEXISTS', refused, stream_id_of(holding)) == 1 then
                letter, holding = 'R', nil
            end
        elseif not letter then
            local nth = 0
            if won >= #numbers then
                letter = 'S'
            elseif class_tier_limit > 0
                and tonumber(redis.call('HGET', class_tier_taken, user) or 0) >= class_tier_limit then
                letter = 'L'
            elseif round_limit > 0 then
                nth = tonumber(redis.call('HGET', round_taken, user) or 0) + 1
                if nth > round_limit then letter = 'L' end
            end
            if not letter then
                local number, id = numbers[won + 1], nil
                if nth > 0 then
                    id = redis.pcall('XADD', claims, at, 'v', '1', 'epoch', epoch_text, 'claim_no', number,
                        'user_ref', user, 'nth', integer(nth))
                else
                    id = redis.pcall('XADD', claims, at, 'v', '1', 'epoch', epoch_text, 'claim_no', number,
                        'user_ref', user)
                end
                if type(id) ~= 'string' then
                    -- Nothing of this user was written.  Stop granting; those before him keep theirs.
                    refusal, letter = 'C', 'C'
                else
                    won, letter = won + 1, 'W'
                    holding = number .. ':' .. epoch_text .. ':' .. id
                    holding_of[user] = holding
                    new_holders[#new_holders + 1] = user
                    new_holders[#new_holders + 1] = holding
                    if nth > 0 then redis.call('HINCRBY', round_taken, user, 1) end
                    if class_tier_limit > 0 then redis.call('HINCRBY', class_tier_taken, user, 1) end
                end
            end
        end
        letters[i] = letter
        if holding then holdings[#holdings + 1] = holding end
    end

    if won > 0 then
        redis.call('LPOP', free, won)
        redis.call('HSET', holders, unpack(new_holders))
        if redis.call('EXISTS', free) == 0 then redis.call('HSET', rules_key, 'sold_out_ms', integer(now_ms)) end
    end
    return { epoch, now_ms, table.concat(letters), unpack(holdings) }
end

--[[
grab_look: what one user holds of this stock.

KEYS
  1  rules    hash
  2  holders  hash
  3  refused  hash

ARGV
  1  user_ref

RETURNS  { epoch, letter, holding }; holding is '' unless the letter is H
  C  CLOSED
  R  REFUSED
  H  HELD
  A  ABSENT  the user holds nothing here

EMITS  nothing
COST   O(1)
WHY    Reads for "my claim" and "my vouchers" must not be able to win anything.
]]
local function look(keys, args)
    local rules = redis.call('HMGET', keys[1], 'epoch', 'run_id')
    local epoch = tonumber(rules[1] or 0)
    if not is_open(keys[1], epoch, rules[2]) then return { 0, 'C', '' } end
    local holding = redis.call('HGET', keys[2], args[1])
    if not holding then return { epoch, 'A', '' } end
    if redis.call('HEXISTS', keys[3], stream_id_of(holding)) == 1 then return { epoch, 'R', '' } end
    return { epoch, 'H', holding }
end

--[[
grab_counts: one stock's numbers, for the polled snapshot, for status and for the audit.

KEYS
  1  rules     hash
  2  free      list
  3  holders   hash
  4  claims    stream
  5  progress  hash

ARGV  none

RETURNS  { open, epoch, now_ms, opens_ms, closes_ms, paused, sold_out_ms, free, held, entries,
           committed_epoch, committed, booked }; open and paused are 0 or 1, sold_out_ms is 0
         until the last number is given, committed is a stream id
EMITS    nothing
COST     O(1)
WHY      One call a stock gives figures that belong to one instant.
]]
local function counts(keys)
    local rules = redis.call('HMGET', keys[1], 'epoch', 'run_id', 'opens_ms', 'closes_ms', 'paused', 'sold_out_ms')
    local progress = redis.call('HMGET', keys[5], 'epoch', 'committed', 'booked')
    local epoch = tonumber(rules[1] or 0)
    return {
        is_open(keys[1], epoch, rules[2]) and 1 or 0, epoch, clock(),
        tonumber(rules[3] or 0), tonumber(rules[4] or 0), tonumber(rules[5] or 0), tonumber(rules[6] or 0),
        redis.call('LLEN', keys[2]), redis.call('HLEN', keys[3]), redis.call('XLEN', keys[4]),
        tonumber(progress[1] or 0), progress[2] or '0-0', tonumber(progress[3] or 0),
    }
end

local function progress_line(progress, refused_ids)
    local line = (progress[1] or '0') .. ' ' .. (progress[2] or '0-0') .. ' ' .. (progress[3] or '0')
    if #refused_ids > 0 then line = line .. ' ' .. table.concat(refused_ids, ' ') end
    return line
end

--[[
grab_progress: how far the ledger is with this stock's stream.

KEYS
  1  progress  hash
  2  refused   hash

ARGV  none

RETURNS  "epoch committed booked refused_id ...": every entry of that epoch up to and including
         `committed` is committed in the ledger, but for those whose ids follow
EMITS    nothing
COST     O(refused), normally O(1)
WHY      A subscriber that (re)connects reads this first: a missed message is then harmless.
]]
local function progress(keys)
    return progress_line(redis.call('HMGET', keys[1], 'epoch', 'committed', 'booked'), redis.call('HKEYS', keys[2]))
end

--[[
grab_confirm: move the watermark over entries that the ledger has committed.

KEYS
  1  progress  hash
  2  refused   hash

ARGV
  1  epoch     of the round when the entries were read
  2  booked    rows of this stock in the ledger after the commit
  3  after     stream id after which they were read, without a gap
  4  upto      stream id of the last of them
  5..          at most 1000 pairs of stream id and reason, for those among them that the ledger refused

RETURNS  1 · 0 the epoch is not the current one · -1 the watermark is below `after`; but for 1 nothing was changed
EMITS    on the channel named like the progress key: the line of grab_progress
COST     O(refused), normally O(1)
WHY      Everything up to the watermark is committed, so it may move on only from where it stands: over
         entries that were read after an id at or below it.  Two workers that overlap for a moment can
         never confirm each other's uncommitted entries, and a late commit moves nothing back.
]]
local function confirm(keys, args)
    local progress_key, refused, after, upto = keys[1], keys[2], args[3], args[4]
    if #args > 4 + 2 * BATCH_MAX then
        return redis.error_reply('ERR grab_confirm takes at most ' .. BATCH_MAX .. ' refused entries')
    end
    local before = redis.call('HMGET', progress_key, 'epoch', 'committed', 'booked')
    if before[1] ~= args[1] then return 0 end
    local committed = before[2]
    if compare_ids(after, committed) > 0 then return -1 end

    local refused_ids = {}
    for i = 5, #args, 2 do
        redis.call('HSET', refused, args[i], args[i + 1])
        refused_ids[#refused_ids + 1] = args[i]
    end
    if compare_ids(upto, committed) > 0 then committed = upto end
    local booked = integer(math.max(tonumber(args[2]), tonumber(before[3])))
    redis.call('HSET', progress_key, 'committed', committed, 'booked', booked)
    redis.call('PUBLISH', progress_key, progress_line({ args[1], committed, booked }, refused_ids))
    return 1
end

--[[
grab_pause: stop or go on handing out this stock.

KEYS
  1  rules  hash

ARGV
  1  paused  '1' or '0'

RETURNS  1, or 0 when the stock has never been opened
EMITS    nothing
COST     O(1)
WHY      A pause keeps what users hold and every number; only new claims wait.
]]
local function pause(keys, args)
    if args[1] ~= '0' and args[1] ~= '1' then return redis.error_reply('ERR grab_pause takes 0 or 1') end
    if redis.call('HEXISTS', keys[1], 'epoch') == 0 then return 0 end
    redis.call('HSET', keys[1], 'paused', args[1])
    return 1
end

--[[
grab_close: blow the fuse of one stock.

KEYS
  1  rules  hash

ARGV  none

RETURNS  1 if it was open, else 0
EMITS    nothing
COST     O(1)
WHY      A stock whose invariant is violated must stop at once; only a recovery opens it again.
]]
local function close(keys)
    local was_open = open_epochs[keys[1]] ~= nil
    open_epochs[keys[1]] = nil
    return was_open and 1 or 0
end

--[[
grab_probe: remember a nonce in the library's memory, or ask for it.

KEYS  none

ARGV
  1  nonce
  2  'set' or 'ask'

RETURNS  1 if the nonce is remembered, else 0
EMITS    nothing
COST     O(1)
WHY      Proof of the fuse: set, reload the library, ask.  A server that still remembers would
         carry an open fuse over a restart, and recovery refuses to work on it.
]]
local function probe(_, args)
    if args[2] == 'set' then probes[args[1]] = true end
    return probes[args[1]] and 1 or 0
end

--[[
grab_rebuild: begin to rebuild a closed stock for a new epoch: forget numbers, holders, refusals.

KEYS
  1  rules    hash
  2  free     list
  3  holders  hash
  4  refused  hash

ARGV
  1  epoch

RETURNS  1, or 0 when the stock is open or a newer epoch has opened it or is rebuilding it
EMITS    nothing
COST     O(1); the old values are freed in the background
WHY      The stream stays: it is what the ledger is refilled from.
]]
local function rebuild(keys, args)
    local epoch = tonumber(args[1])
    local rules = redis.call('HMGET', keys[1], 'epoch', 'rebuilding')
    if open_epochs[keys[1]] or tonumber(rules[1] or 0) >= epoch or tonumber(rules[2] or 0) > epoch then return 0 end
    redis.call('HSET', keys[1], 'rebuilding', args[1])
    redis.call('UNLINK', keys[2], keys[3], keys[4])
    return 1
end

local function is_rebuilding(rules_key, epoch)
    return not open_epochs[rules_key] and redis.call('HGET', rules_key, 'rebuilding') == epoch
end

--[[
grab_put_free: append runs of voucher numbers to the free list of a stock under rebuild.

KEYS
  1  rules  hash
  2  free   list

ARGV
  1    epoch
  2..  pairs of first and last number of a run; at most 1000 numbers in all

RETURNS  1, or 0 when this epoch is not the one rebuilding the stock
EMITS    nothing
COST     O(numbers)
WHY      Runs, because a fresh stock is one run and a million numbers need not cross the wire.
]]
local function put_free(keys, args)
    if not is_rebuilding(keys[1], args[1]) then return 0 end
    local numbers = {}
    for i = 2, #args, 2 do
        for number = tonumber(args[i]), tonumber(args[i + 1]) do
            numbers[#numbers + 1] = integer(number)
            if #numbers > BATCH_MAX then
                return redis.error_reply('ERR grab_put_free takes at most ' .. BATCH_MAX .. ' numbers')
            end
        end
    end
    redis.call('RPUSH', keys[2], unpack(numbers))
    return 1
end

--[[
grab_put_hash: write fields of a hash of a stock under rebuild.

KEYS
  1  rules  hash
  2  hash   holders, round_taken or class_tier_taken

ARGV
  1    epoch
  2..  pairs of field and value, at most 1000

RETURNS  1, or 0 when this epoch is not the one rebuilding the stock
EMITS    nothing
COST     O(pairs)
WHY      A recovery that was overtaken by a newer one must not write into the newer one's state.
]]
local function put_hash(keys, args)
    if not is_rebuilding(keys[1], args[1]) then return 0 end
    if #args > 1 + 2 * BATCH_MAX then
        return redis.error_reply('ERR grab_put_hash takes at most ' .. BATCH_MAX .. ' pairs')
    end
    redis.call('HSET', keys[2], unpack(args, 2))
    return 1
end

--[[
grab_forget_taken: forget the counters of a limit that spans stocks, before they are rebuilt.

KEYS
  1  rules  hash    of any stock under rebuild in the limit's scope
  2  taken  hash    round_taken or class_tier_taken

ARGV
  1  epoch

RETURNS  1, or 0 when this epoch is not the one rebuilding the stock
EMITS    nothing
COST     O(1)
WHY      These counters are shared by stocks, so no single stock's rebuild may clear them.
]]
local function forget_taken(keys, args)
    if not is_rebuilding(keys[1], args[1]) then return 0 end
    redis.call('UNLINK', keys[2])
    return 1
end

-- The last id that a stream has given, also when its entry is gone; 0-0 if there is no stream yet.
local function last_id_of(stream)
    if redis.call('EXISTS', stream) == 0 then return '0-0' end
    local info = redis.call('XINFO', 'STREAM', stream)
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then return info[i + 1] end
    end
end

--[[
grab_open: check a rebuilt stock, write its rules and close the fuse's circuit: claims may come.

KEYS
  1  rules     hash
  2  free      list
  3  holders   hash
  4  claims    stream
  5  progress  hash

ARGV
  1   epoch
  2   quantity
  3   opens_ms
  4   closes_ms
  5   paused            '1' or '0'
  6   round_limit       vouchers a user may have in this round, 0 = no such limit
  7   class_tier_limit  vouchers a user may have of this class and tier in the campaign, 0 = none
  8   clock_floor_ms    no instant before this may be given out: the latest claim in the ledger
  9   sold_out_ms       instant of the last claim when nothing is free, else 0
  10  booked            rows of this stock in the ledger

RETURNS  1 opened · 0 this epoch is not the one rebuilding the stock · -1 free + held is not quantity
EMITS    on the channel named like the progress key: the line of grab_progress
COST     O(1)
WHY      The last step of a recovery and the only one that lets claims in.  Everything that was
         readable of the stream is in the ledger by now, so the watermark starts at its end.
]]
local function open(keys, args)
    local rules_key, free, holders, claims, progress_key = keys[1], keys[2], keys[3], keys[4], keys[5]
    if not is_rebuilding(rules_key, args[1]) then return 0 end
    if redis.call('LLEN', free) + redis.call('HLEN', holders) ~= tonumber(args[2]) then return -1 end

    local last_id = last_id_of(claims)
    local last_ms = tonumber(string.match(last_id, '^(%d+)-'))
    latest_ms = math.max(latest_ms, last_ms, tonumber(args[8]))

    redis.call('DEL', rules_key)
    redis.call('HSET', rules_key, 'epoch', args[1], 'run_id', run_id(), 'opens_ms', args[3], 'closes_ms', args[4],
        'paused', args[5], 'round_limit', args[6], 'class_tier_limit', args[7], 'sold_out_ms', args[9])
    redis.call('DEL', progress_key)
    redis.call('HSET', progress_key, 'epoch', args[1], 'committed', last_id, 'booked', args[10])
    redis.call('PUBLISH', progress_key, progress_line({ args[1], last_id, args[10] }, {}))
    open_epochs[rules_key] = tonumber(args[1])
    return 1
end

--[[
grab_tell: leave the verdict of the continuous watch where every API process can read it.

KEYS
  1  watch  hash

ARGV
  1    ttl_ms
  2..  pairs of invariant and verdict, 'ok' or what is wrong; of difference:KIND and a number of vouchers

RETURNS  1
EMITS    nothing
COST     O(pairs)
WHY      It lapses by itself: a watch that has ended must not look like one that finds no fault.
]]
local function tell(keys, args)
    redis.call('DEL', keys[1])
    redis.call('HSET', keys[1], unpack(args, 2))
    redis.call('PEXPIRE', keys[1], args[1])
    return 1
end

--[[
grab_asked: add what users have asked of one process, and tell who asks too much of all processes together.

KEYS
  1  asked  hash

ARGV
  1    most       claims of one user that are in order within the window
  2    window_ms  after which the sums lapse, from the first of them on
  3..  pairs of user_ref and claims, at most 1000

RETURNS  the user_refs among them whose sums are above `most`
EMITS    nothing
COST     O(pairs)
WHY      A process counts for itself, and tells now and then who asks often: whoever gets nothing costs the
         gate no write, and whoever goes round all processes is held up as by a single one.
]]
local function asked(keys, args)
    if #args > 2 + 2 * BATCH_MAX then
        return redis.error_reply('ERR grab_asked takes at most ' .. BATCH_MAX .. ' users')
    end
    local hasty = {}
    for i = 3, #args, 2 do
        if redis.call('HINCRBY', keys[1], args[i], args[i + 1]) > tonumber(args[1]) then
            hasty[#hasty + 1] = args[i]
        end
    end
    if redis.call('PTTL', keys[1]) < 0 then redis.call('PEXPIRE', keys[1], args[2]) end
    return hasty
end

redis.register_function('grab_claim', claim)
redis.register_function('grab_confirm', confirm)
redis.register_function('grab_pause', pause)
redis.register_function('grab_rebuild', rebuild)
redis.register_function('grab_put_free', put_free)
redis.register_function('grab_put_hash', put_hash)
redis.register_function('grab_forget_taken', forget_taken)
redis.register_function('grab_open', open)
redis.register_function('grab_close', close)
redis.register_function('grab_probe', probe)
redis.register_function('grab_tell', tell)
redis.register_function('grab_asked', asked)
redis.register_function{ function_name = 'grab_look', callback = look, flags = { 'no-writes' } }
redis.register_function{ function_name = 'grab_counts', callback = counts, flags = { 'no-writes' } }
redis.register_function{ function_name = 'grab_progress', callback = progress, flags = { 'no-writes' } }
