// Where the figures come from: server-sent events, and polls of the public routes while there are none.

const SILENT_MS = 2500; // without an event for so long, the page polls
const POLL_MS = 1000;
const HEALTH_EVERY = 3; // polls

/** Tell every picture to hear(event) until the page is left: {stock, health, point, points, isStreamed}. */
export function listen(hear) {
  let heardMs = -Infinity;
  let health = null;
  const events = new EventSource("/v1/ops/events");
  const read = (event) => { heardMs = performance.now(); return { ...JSON.parse(event.data), isStreamed: true }; };
  events.addEventListener("history", (event) => hear(read(event)));
  events.addEventListener("picture", (event) => hear(read(event)));

  let polls = 0;
  const poll = async () => {
    if (performance.now() - heardMs < SILENT_MS) return;
    const stock = await json("/v1/stock");
    if (polls++ % HEALTH_EVERY === 0) health = await json("/healthz");
    if (stock) hear({ stock, health, point: pointOf(stock), isStreamed: false });
  };
  setInterval(poll, POLL_MS);
}

/** Measure how long the service takes to answer this page, in ms; null when it does not. */
export async function roundTrip() {
  const sentMs = performance.now();
  return (await json("/v1/time")) && performance.now() - sentMs;
}

async function json(path) {
  try {
    const response = await fetch(path, { signal: AbortSignal.timeout(3000), credentials: "omit" });
    return await response.json();
  } catch {
    return null;
  }
}

function pointOf({ as_of: asOf, stocks }) {
  const sum = (name) => stocks.reduce((total, stock) => total + (stock[name] ?? 0), 0);
  return { at_ms: Date.parse(asOf), claimed: sum("claimed"), booked: sum("booked"), gate_ms: null, lag_ms: null };
}
