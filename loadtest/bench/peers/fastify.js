// Fastify + ioredis with auto-pipelining: requests of one turn of the loop share a round trip.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const fastify = require("fastify")({ logger: false, keepAliveTimeout: 300000 });
const Redis = require("ioredis");

const ANSWERS = [
  [409, { code: "SOLD_OUT" }],
  [201, { code: "WON" }],
  [200, { code: "REPEATED" }],
];

const store = new Redis({ path: process.env.BENCH_STORE_SOCKET, enableAutoPipelining: true });
store.defineCommand("claim", { numberOfKeys: 3, lua: fs.readFileSync(path.join(__dirname, "claim.lua"), "utf8") });

const schema = {
  response: { "2xx": { type: "object", properties: { code: { type: "string" } } },
              409: { type: "object", properties: { code: { type: "string" } } } },
};
fastify.post("/v1/stocks/:stock/claims", { schema }, async (request, reply) => {
  const stock = request.params.stock;
  const outcome = await store.claim(`left:${stock}`, `users:${stock}`, `orders:${stock}`, request.headers["x-user"]);
  const [status, body] = ANSWERS[outcome];
  reply.code(status);
  return body;
});

fastify.listen({ host: "127.0.0.1", port: Number(process.env.BENCH_PORT), backlog: 4096 });
