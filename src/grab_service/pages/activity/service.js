// The service as the page sees it: its clock, its answers, and who the user is.

import { solve } from "./presence.js";

const ANSWER_MS = 8000;
const SAMPLES = 5;

/** The server's clock, from the sample that was answered soonest; steps of the phone's clock do no harm. */
export const clock = {
  offsetMs: Date.now() - performance.now(),
  now() { return performance.now() + this.offsetMs; },
  async sync() {
    let bestMs = Infinity;
    for (let i = 0; i < SAMPLES; i++) {
      const sentMs = performance.now();
      const answer = await ask("/v1/time");
      const tookMs = performance.now() - sentMs;
      if (answer.status !== 200 || tookMs >= bestMs) continue;
      bestMs = tookMs;
      this.offsetMs = Date.parse(answer.body.server_time) - sentMs - tookMs / 2;
    }
    return bestMs < Infinity;
  },
};

/** Ask the service; a status of 0 means that no answer came, and what was asked may have happened. */
export async function ask(path, { method = "GET", token = "", accept = "", content = null } = {}) {
  const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...(accept && { "Accept-Language": accept }),
    ...(content && { "Content-Type": "application/json" }) };
  const body = content && JSON.stringify(content);
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), ANSWER_MS);
  try {
    const response = await fetch(path, { method, headers, body, signal: giveUp.signal, credentials: "omit" });
    const told = await response.json().catch(() => ({}));
    return { status: response.status, body: told, retryMs: 1000 * (Number(response.headers.get("Retry-After")) || 0) };
  } catch {
    return { status: 0, body: {}, retryMs: 0 };
  } finally {
    clearTimeout(timer);
  }
}

const KEPT = "grab-token";
const keep = (value) => { try { sessionStorage.setItem(KEPT, value); } catch { /* private mode: it lasts for this view */ } };
const kept = () => { try { return sessionStorage.getItem(KEPT) ?? ""; } catch { return ""; } };

/** The user: the app passes a token as window.grabToken or in the fragment; a rehearsal makes somebody up. */
export const user = {
  token: "", // as it was given
  ticket: "", // what it was exchanged for: cheap to check in the rush
  name: "",
  get bearer() { return this.ticket || this.token; },

  async signIn() {
    const fragment = new URLSearchParams(location.hash.slice(1)).get("token");
    if (fragment) history.replaceState(null, "", location.pathname + location.search); // not into screenshots and logs
    [this.token, this.name = ""] = (window.grabToken || fragment || kept()).split("|");
    if (!this.token) await this.makeUp();
    keep([this.token, this.name].join("|"));
    await this.exchange();
    return Boolean(this.token);
  },

  async makeUp() {
    const made = await ask("/rehearsal/token", { method: "POST" });
    if (made.status === 200) ({ token: this.token, user: this.name } = made.body);
  },

  async exchange() {
    if (!this.token || /^t\d\./.test(this.token)) return;
    const asked = await ask("/v1/challenges", { method: "POST", token: this.token });
    const { kind, challenge, bits } = asked.body;
    const content = kind === "work" ? { presence: { challenge, answer: await solve(challenge, bits) } } : null;
    const answer = await ask("/v1/tickets", { method: "POST", token: this.token, content });
    if (answer.status === 200) this.ticket = answer.body.ticket;
  },

  /** Ask for something that is the user's; a token that is no longer good is renewed once. */
  async ask(path, options = {}) {
    const answer = await ask(path, { ...options, token: this.bearer });
    if (answer.status !== 401) return answer;
    this.ticket = "";
    if (this.name) {
      await this.makeUp();
      keep([this.token, this.name].join("|"));
    } else {
      this.token = window.grabToken || this.token;
      await this.exchange();
    }
    return ask(path, { ...options, token: this.bearer });
  },
};
