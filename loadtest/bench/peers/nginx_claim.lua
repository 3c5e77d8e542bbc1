--[[
The handler of the nginx peer: one script call over a kept connection, and a small JSON answer.
]]
local found, redis = pcall(require, "resty.redis")
if not found then redis = require "nginx.redis" end  -- Debian's name for the same library
local settings = require "bench.settings"

local ANSWERS = {
    [0] = { 409, '{"code":"SOLD_OUT"}' },
    [1] = { 201, '{"code":"WON"}' },
    [2] = { 200, '{"code":"REPEATED"}' },
}
local POOL_SIZE, IDLE_MS, TIMEOUT_MS = 256, 60000, 1000

local store = redis:new()
store:set_timeout(TIMEOUT_MS)
local connected, problem = store:connect(settings.store, { pool_size = POOL_SIZE })
if not connected then
    ngx.log(ngx.ERR, problem)
    return ngx.exit(503)
end
local stock = ngx.var.stock
local outcome, failure = store:evalsha(
    settings.script, 3, "left:" .. stock, "users:" .. stock, "orders:" .. stock, ngx.var.http_x_user)
if not outcome then
    ngx.log(ngx.ERR, failure)
    return ngx.exit(503)
end
store:set_keepalive(IDLE_MS, POOL_SIZE)
local answer = ANSWERS[outcome]
ngx.status = answer[1]
ngx.header["Content-Length"] = #answer[2]
ngx.print(answer[2])
