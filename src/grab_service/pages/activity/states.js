// What a stock's button says and does, and how a claim is pursued until its answer is known.

import { clock, user } from "./service.js";
import { countdown, instant, t } from "./words.js";

const SOON_MS = 60_000;
const LOST_MAX = 3; // answers that may be lost before the user is asked
const TRIES_MAX = 40; // of one tap, while the service is busy
const PENDING_MAX = 30;
const EARLY_MS = 2000; // a refusal this close to the opening is the clock's error, not the user's

// So that not everybody's button wakes in the same millisecond.
const JITTER_MS = Math.random() * 300;

/** Return what is shown for a stock: kind, label, note and whether the button can be pressed. */
export function shown(stock, held, work, nextOpensMs) {
  const now = clock.now();
  const until = (ms) => instant(ms, now);
  const state = (kind, gaps = {}, enabled = false) =>
    ({ kind, label: t(kind === "open" ? "grab" : kind === "won" ? "mine" : kind, gaps), note: t(`${kind}_note`, gaps), enabled });
  if (held && held.state !== "PENDING") {
    const note = t(held.isNew ? "won_note" : "held_note", { until: until(held.availableMs) });
    return { ...state("won", {}, true), note };
  }
  if (work?.kind === "busy") return { ...state("busy"), note: t("retry_note", { seconds: Math.max(1, Math.ceil((work.untilMs - now) / 1000)) }) };
  if (held || work?.kind === "pending") return state("pending");
  if (work?.kind === "claiming") return state("claiming");
  if (stock.state === "ENDED" || now >= stock.closesMs) return state("ended");
  if (stock.state === "SOLD_OUT" || work?.kind === "sold") return { ...state("sold"), ...(nextOpensMs && { note: t("next_note", { time: until(nextOpensMs) }) }) };
  if (stock.state === "PAUSED") return state("paused");
  if (now < stock.opensMs + JITTER_MS) return before(stock, stock.opensMs + JITTER_MS - now, until);
  if (stock.state === "RECOVERING") return state("recovering");
  if (work) return state(work.kind, {}, work.kind === "lost" || work.kind === "failed");
  return { kind: "open", label: t("grab"), note: t("opening_note", stock), enabled: true };
}

function before(stock, leftMs, until) {
  const isSoon = leftMs <= SOON_MS;
  const label = isSoon ? t("soon", { left: countdown(leftMs) }) : t("opens", { time: until(stock.opensMs) });
  return { kind: isSoon ? "soon" : "scheduled", label, note: t("opening_note", stock), enabled: false };
}

const KIND_OF_CODE = {
  SOLD_OUT: "sold", PAUSED: "none", ENDED: "none", NOT_ELIGIBLE: "denied", FORBIDDEN: "denied", LIMIT_REACHED: "limit", SIGN_ERROR: "signin",
};

/**
 * Claim a voucher of a stock, and go on asking until the answer is known: a repeat is harmless.
 *
 * tell({kind, untilMs}) hears how it stands; the result is {kind, voucher}.
 */
export async function pursue(stock, tell) {
  let lost = 0;
  let pending = 0;
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    tell({ kind: pending ? "pending" : "claiming" });
    const answer = await user.ask(`/v1/stocks/${encodeURIComponent(stock.stock_id)}/claims`, { method: "POST" });
    const code = answer.body.code;
    if (answer.status === 200 || answer.status === 201) return { kind: "won", voucher: answer.body };
    if (answer.status === 202) {
      if (++pending > PENDING_MAX) return { kind: "failed" };
      tell({ kind: "pending" });
      await pause(Math.min(500 * pending, 3000));
    } else if (answer.status === 0 || answer.status >= 500 && answer.status !== 503) {
      if (++lost > LOST_MAX) return { kind: "lost" };
      await pause(300 * 2 ** lost + Math.random() * 300);
    } else if (code === "NOT_STARTED" && stock.opensMs - clock.now() < EARLY_MS) {
      await pause(Math.max(0, stock.opensMs - clock.now()) + 100 + Math.random() * 200);
    } else if (answer.status === 503 || answer.status === 429) {
      const waitMs = (answer.retryMs || 1000) + Math.random() * 500;
      tell({ kind: "busy", untilMs: clock.now() + waitMs });
      await pause(waitMs);
    } else {
      return { kind: KIND_OF_CODE[code] ?? "none" };
    }
  }
  return { kind: "failed" };
}

export const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });
