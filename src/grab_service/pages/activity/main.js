// The activity page: puts clock, stocks, the user's vouchers, merchants and rules together.

import { ask, clock, user } from "./service.js";
import { pause, pursue, shown } from "./states.js";
import { $, make, roundName, rules, shop, showCode, stockCard, voucherCard, write, writeHotline } from "./views.js";
import { countdown, instant, speak, spoken, t, timeOfDay } from "./words.js";

const TICK_MS = 200;
const SYNC_MS = 60_000;
const ASLEEP_MS = 30_000; // between polls while nothing can happen
const AWAKE_MS = 2000; // from a minute before the opening on
const SOON_MS = 60_000;
const FILTERS = ["ISSUED", "USED", "EXPIRED"];

const page = {
  stocks: new Map(), // by id: the rows of the picture
  held: new Map(), // by id: the user's vouchers
  work: new Map(), // by id: how a claim stands that is not answered
  cards: new Map(),
  campaign: null,
  round: "",
  filter: "ISSUED",
  cursor: "",
  toldMs: Infinity, // time to the opening when it was last told
};

const preferences = {
  read(name) { try { return localStorage.getItem(`grab-${name}`); } catch { return null; } },
  write(name, value) { try { localStorage.setItem(`grab-${name}`, value); } catch { /* it lasts for this view */ } },
};

// Stocks ---------------------------------------------------------------------------------------------

async function readStocks() {
  const answer = await ask("/v1/stock");
  if (answer.status !== 200) return;
  const wanted = new URLSearchParams(location.search).get("campaign") ?? answer.body.stocks[0]?.campaign_id;
  if (wanted && page.campaign?.campaign_id !== wanted) await readCampaign(wanted);
  const closes = new Map(page.campaign?.rounds.map((each) => [each.round_id, Date.parse(each.closes_at)]));
  const rows = answer.body.stocks.filter((row) => row.campaign_id === wanted);
  for (const row of rows) {
    page.stocks.set(row.stock_id, { ...row, opensMs: Date.parse(row.opens_at), closesMs: closes.get(row.round_id) ?? Infinity });
  }
  if (rows.length && !page.cards.size) drawStocks();
  tick();
}

async function readCampaign(id) {
  const answer = await ask(`/v1/campaigns/${encodeURIComponent(id)}`);
  if (answer.status !== 200) return;
  page.campaign = { ...answer.body.document, campaign_id: id };
  drawCampaign();
}

function drawCampaign() {
  const { name, organiser, merchants, notice, hotline } = page.campaign;
  write($("title"), name);
  write($("organiser"), organiser);
  write($("board"), notice ? t("board", { notice }) : "");
  $("board").hidden = !notice;
  writeHotline($("hotline"), hotline);
  $("rule-list").replaceChildren(...rules(page.campaign));
  const towns = merchants.towns.map((each) => make("option", { value: each }, each));
  $("town").replaceChildren(make("option", { value: "" }, t("every_town")), ...towns);
}

const inRound = (id) => [...page.stocks.values()].filter((stock) => stock.round_id === id);
const isOver = (stock) => stock.state === "ENDED" || stock.state === "SOLD_OUT" || clock.now() >= stock.closesMs;

function drawStocks() {
  const rounds = [...new Set([...page.stocks.values()].map((stock) => stock.round_id))];
  page.round ||= rounds.find((id) => inRound(id).some((stock) => !isOver(stock))) ?? rounds.at(-1);
  $("rounds").replaceChildren(...rounds.map((id) => {
    const round = page.campaign?.rounds.find((each) => each.round_id === id);
    const name = round ? roundName(round) : id;
    const time = instant(inRound(id)[0].opensMs, clock.now());
    return choice(`${name} ${time}`, id === page.round, () => { page.round = id; drawStocks(); });
  }));
  page.cards = new Map(inRound(page.round).map((stock) => [stock.stock_id, stockCard(stock, page.campaign, press)]));
  $("stocks").replaceChildren(...[...page.cards.values()].map(({ card }) => card));
  tick();
}

function choice(text, isChosen, choose) {
  const button = make("button", { type: "button", "aria-pressed": String(isChosen) }, text);
  button.addEventListener("click", choose);
  return button;
}

function tick() {
  const stocks = inRound(page.round);
  if (!stocks.length) return;
  const later = [...page.stocks.values()].map((stock) => stock.opensMs).filter((ms) => ms > clock.now()).sort((a, b) => a - b)[0];
  for (const [id, { show }] of page.cards) {
    const stock = page.stocks.get(id);
    show(shown(stock, page.held.get(id), page.work.get(id), later), stock);
  }
  const leftMs = stocks[0].opensMs - clock.now();
  write($("clock-label"), t(headline(stocks, leftMs)));
  write($("clock"), leftMs > 0 ? countdown(leftMs) : "");
  write($("server-time"), t("server_time", { time: timeOfDay(clock.now(), true) }));
  for (const [bound, key] of [[60_000, "told_minute"], [10_000, "told_ten"], [0, "told_open"]]) {
    if (page.toldMs > bound && leftMs <= bound && page.toldMs < Infinity) write($("told"), t(key));
  }
  page.toldMs = leftMs;
}

function headline(stocks, leftMs) {
  const all = (state) => stocks.every((stock) => stock.state === state);
  if (all("RECOVERING")) return "is_recovering";
  if (leftMs > 0) return "until_opening";
  if (all("PAUSED")) return "is_paused";
  if (stocks.every(isOver)) return all("ENDED") ? "is_over" : "is_gone";
  return "is_open";
}

async function press(id) {
  if (page.held.has(id)) return view("mine");
  if (page.work.get(id) && !["lost", "failed"].includes(page.work.get(id).kind)) return undefined;
  const tell = (work) => { page.work.set(id, work); tick(); };
  const result = await pursue(page.stocks.get(id), tell);
  page.work.delete(id);
  if (result.kind === "won") keepVouchers([result.voucher], true);
  else if (result.kind !== "none") page.work.set(id, result);
  else await readStocks(); // paused or ended: the picture says so
  const told = { won: "told_won", sold: "told_sold", lost: "told_lost" }[result.kind];
  if (told) write($("told"), t(told));
  return tick();
}

// Vouchers -------------------------------------------------------------------------------------------

function keepVouchers(vouchers, areNew = false) {
  for (const voucher of vouchers) {
    const isNew = areNew || page.held.get(voucher.stock_id)?.isNew;
    page.held.set(voucher.stock_id, { ...voucher, isNew, availableMs: Date.parse(voucher.available_until) });
  }
  drawVouchers();
}

async function readVouchers() {
  const answer = await user.ask("/v1/me/vouchers");
  if (answer.status === 200) keepVouchers(answer.body.data);
  tick();
  return answer.status === 200;
}

function drawVouchers() {
  const of = { PENDING: "ISSUED", VOID: "EXPIRED" };
  const cards = [...page.held.values()].filter((each) => (of[each.state] ?? each.state) === page.filter)
    .sort((one, other) => one.availableMs - other.availableMs || one.stock_id.localeCompare(other.stock_id))
    .map((each) => voucherCard(each, page.campaign, (voucher) => showCode(voucher, page.campaign)));
  $("vouchers").replaceChildren(...cards);
  $("filters").replaceChildren(...FILTERS.map((each) =>
    choice(t(`state_${each}`), each === page.filter, () => { page.filter = each; drawVouchers(); })));
  $("no-vouchers").hidden = cards.length > 0;
  write($("no-vouchers"), t("no_vouchers"));
}

// Merchants ------------------------------------------------------------------------------------------

async function readShops(isMore) {
  const wanted = new URLSearchParams({ q: $("q").value.trim(), town: $("town").value, limit: "20", cursor: isMore ? page.cursor : "" });
  const answer = await ask(`/v1/merchants?${wanted}`);
  const found = answer.status === 200 ? answer.body.data.map((each) => shop(each, page.campaign)) : [];
  if (!isMore) $("shops").replaceChildren();
  $("shops").append(...found);
  page.cursor = answer.body.next_cursor ?? "";
  $("more").hidden = !page.cursor;
  $("no-shops").hidden = $("shops").childElementCount > 0;
  write($("no-shops"), t(answer.status === 200 ? "no_shops" : "trouble"));
}

// The page -------------------------------------------------------------------------------------------

function view(name) {
  for (const button of document.querySelectorAll(".tabs button")) {
    const isChosen = button.dataset.view === name;
    button.toggleAttribute("aria-current", isChosen);
    if (isChosen) button.setAttribute("aria-current", "page");
    $(button.dataset.view).hidden = !isChosen;
  }
  if (name === "mine") readVouchers();
  if (name === "merchants" && !$("shops").childElementCount) readShops(false);
  window.scrollTo(0, 0);
}

function enlarge(isLarge) {
  document.documentElement.classList.toggle("large", isLarge);
  $("size").setAttribute("aria-pressed", String(isLarge));
  preferences.write("size", isLarge ? "large" : "");
}

function talk(language) {
  speak(language);
  preferences.write("language", language);
  document.title = t("page");
  for (const element of document.querySelectorAll("[data-t]")) write(element, t(element.dataset.t));
  for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
  $("q").placeholder = t("search_label");
  $("language").textContent = language === "zh" ? "English" : "中文";
  $("language").lang = language === "zh" ? "en" : "zh-CN";
  if (page.campaign) drawCampaign();
  if (page.stocks.size) drawStocks();
  drawVouchers();
  $("shops").replaceChildren();
  if (!$("merchants").hidden) readShops(false);
  drawNotice();
}

function drawNotice() {
  const text = user.name ? t("rehearsal", { user: user.name.slice(-6) }) : user.token ? "" : t("signin");
  write($("notice"), text);
  $("notice").hidden = !text || !page.isSignedIn;
}

async function poll() {
  for (;;) {
    const lives = [...page.stocks.values()].some((stock) => !isOver(stock) && stock.opensMs - clock.now() < SOON_MS);
    const waitMs = lives || !page.stocks.size ? AWAKE_MS : ASLEEP_MS;
    const openings = [...page.stocks.values()].map((stock) => stock.opensMs - SOON_MS - clock.now()).filter((ms) => ms > 0);
    await pause(Math.min(waitMs * (0.75 + Math.random() / 2), ...openings.map((ms) => ms + 500)));
    if (!document.hidden) await readStocks();
  }
}

async function begin() {
  $("size").addEventListener("click", () => enlarge(!document.documentElement.classList.contains("large")));
  $("language").addEventListener("click", () => talk(spoken() === "zh" ? "en" : "zh"));
  $("close").addEventListener("click", () => $("voucher").close());
  $("search").addEventListener("submit", (event) => { event.preventDefault(); readShops(false); });
  $("more").addEventListener("click", () => readShops(true));
  for (const button of document.querySelectorAll(".tabs button")) button.addEventListener("click", () => view(button.dataset.view));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { clock.sync(); readStocks(); } });
  enlarge(preferences.read("size") === "large");
  talk(preferences.read("language") ?? "zh");
  setInterval(tick, TICK_MS);
  setInterval(() => { if (!document.hidden) clock.sync(); }, SYNC_MS);
  await Promise.all([clock.sync(), readStocks(), user.signIn()]);
  page.isSignedIn = true;
  drawNotice();
  document.documentElement.dataset.ready = "yes";
  readVouchers();
  await poll();
}

begin();
