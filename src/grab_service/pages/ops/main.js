// The ops page: figures, bars, curves and parts, told once a second.

import { Chart, timeOf } from "./charts.js";
import { listen, roundTrip } from "./feed.js";
import { decide, isSignedIn, signIn } from "./staff.js";

const STALE_MS = 3000;
const PROBE_MS = 2000;
const STATES = { SCHEDULED: "未开始", OPEN: "发放中", PAUSED: "已暂停", SOLD_OUT: "已抢光", ENDED: "已结束", RECOVERING: "恢复中" };
const CLASSES = { general: "通用券", dining: "餐饮券" };
const STATUS = { pass: "正常", warn: "注意", fail: "故障", none: "连接中" };
const PARTS = { gate: "闸口（Valkey）", library: "函数库", stocks: "券批次开放", ledger_database: "账本数据库", ledger: "入账进程", invariants: "不变量" };

const $ = (id) => document.getElementById(id);
const write = (id, text) => { const place = typeof id === "string" ? $(id) : id; if (place.textContent !== text) place.textContent = text; };
const number = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en-US"));
// Rounded down: 100% means all of them.
const percent = (share) => (share === null || share === undefined ? "–" : `${Math.floor(share * 10_000) / 100}%`);
const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

const seen = { heardMs: performance.now(), offsetMs: 0, asOfMs: 0, last: null, beat: null, peak: 0, requestsPeak: 0, tripMs: null, rows: new Map(), stocks: [] };
const now = () => performance.now() + seen.offsetMs;
let rates;
let latencies;
let requests;

// Curves ---------------------------------------------------------------------------------------------

function note(point) {
  const last = seen.last;
  if (!point || (last && point.at_ms <= last.at_ms)) return;
  seen.last = point;
  latencies.add(point.at_ms, [point.gate_ms, point.lag_ms, seen.beat?.p99_ms ?? null, seen.tripMs]);
  if (!last) return;
  const perS = (name) => Math.max(0, point[name] - last[name]) * 1000 / (point.at_ms - last.at_ms);
  rates.add(point.at_ms, [perS("claimed"), perS("booked")]);
  seen.peak = Math.max(seen.peak, perS("claimed"));
  write("rate", number(perS("claimed")));
  write("peak", `张/秒 · 峰值 ${number(seen.peak)}`);
  write("round-trip", `毫秒 · 本页往返 ${seen.tripMs === null ? "–" : seen.tripMs.toFixed(0)}`);
}

function noteBeat(beat) {
  if (!beat || beat.at_ms <= (seen.beat?.at_ms ?? 0)) return;
  seen.beat = beat;
  seen.requestsPeak = Math.max(seen.requestsPeak, beat.requests_per_s);
  requests.add(beat.at_ms, [beat.requests_per_s, beat.refused_per_s, beat.failed_per_s]);
}

function showBeat(beat, used) {
  write("requests", number(beat?.requests_per_s));
  write("requests-peak", `次/秒 · 峰值 ${number(seen.requestsPeak)}`);
  write("refused", number(beat?.refused_per_s));
  write("failed", `次/秒 · 出错 ${number(beat?.failed_per_s)}`);
  write("p99", beat?.p99_ms?.toFixed(beat.p99_ms < 100 ? 1 : 0) ?? "–");
  write("success", percent(beat?.success));
  write("used", number(used));
}

// Stocks ---------------------------------------------------------------------------------------------

function showStocks(stocks) {
  seen.stocks = stocks;
  for (const stock of stocks) {
    if (!seen.rows.has(stock.stock_id)) seen.rows.set(stock.stock_id, addRow(stock));
    seen.rows.get(stock.stock_id)(stock);
  }
  const sum = (name) => (stocks.some((stock) => stock[name] === null) ? null : stocks.reduce((total, stock) => total + stock[name], 0));
  const [claimed, booked] = [sum("claimed"), sum("booked")];
  write("claimed", number(claimed));
  write("claimed-of", `共 ${number(sum("quantity"))} 张`);
  write("remaining", number(sum("remaining")));
  write("booked", number(booked));
  write("on-way", claimed === null ? "" : `在途 ${number(Math.max(0, claimed - booked))}`);
}

function addRow(stock) {
  const group = `${stock.campaign_id}-${stock.round_id}`;
  if (!$(group)) {
    const opens = stock.opens_at.slice(5, 16).replace("T", " ");
    $("rounds").append(make("h3", {}, `${stock.round_id.replace(/^r(\d+)$/, "第 $1 场")} `, make("span", { class: "unit" }, `${opens} 开抢`)), make("ul", { id: group, class: "rows" }));
  }
  const name = `${CLASSES[stock.class] ?? stock.class} 满${stock.threshold_fen / 100}减${stock.discount_fen / 100}`;
  const parts = { chip: make("span", { class: "chip" }), fill: make("span"), figures: make("span", { class: "figures" }), gone: make("span", { class: "gone unit" }), button: make("button", { type: "button" }) };
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, parts.fill);
  $(group).append(make("li", { "data-stock": stock.stock_id }, make("span", { class: "name" }, name), parts.chip, bar, parts.figures, parts.gone, parts.button));
  let row = stock;
  parts.button.addEventListener("click", () => decide(row, `${name}（${stock.stock_id}）`, row.state !== "PAUSED", showStaff));
  return (latest) => {
    row = latest;
    const share = row.claimed === null ? 0 : row.claimed / row.quantity;
    parts.chip.dataset.state = row.state;
    write(parts.chip, STATES[row.state]);
    parts.fill.style.width = `${100 * share}%`;
    write(parts.figures, `${number(row.claimed)} / ${number(row.quantity)} · ${Math.floor(100 * share)}%`);
    write(parts.gone, row.sold_out_at ? `${row.sold_out_at.slice(11, 23)} 售罄` : "");
    parts.button.hidden = !isSignedIn() || ["ENDED", "RECOVERING", "SOLD_OUT"].includes(row.state);
    write(parts.button, row.state === "PAUSED" ? "恢复" : "暂停");
    parts.button.setAttribute("aria-label", `${parts.button.textContent} ${name}`);
  };
}

function showStaff() {
  write("sign-in", isSignedIn() ? "退出登录" : "工作人员登录");
  showStocks(seen.stocks);
}

// Parts ----------------------------------------------------------------------------------------------

function showHealth(health) {
  const overall = health?.status ?? "none";
  $("overall").dataset.status = overall;
  write("overall", overall === "pass" ? "一切正常" : STATUS[overall]);
  const ledger = health?.checks.ledger ?? { status: "none", lag_s: null };
  $("lag").dataset.status = ledger.status;
  write("lag", number(ledger.lag_s === null ? null : ledger.lag_s * 1000));
  write("lag-status", ledger.lag_s === null ? "未知" : ledger.status === "warn" ? "积压" : STATUS[ledger.status]);
  showDifference(health?.checks.invariants);
  const lines = Object.entries(health?.checks ?? {}).map(([name, check]) => {
    return make("li", {}, make("span", { class: "name" }, PARTS[name] ?? name), make("span", { class: "chip", "data-status": check.status }, STATUS[check.status]), make("span", { class: "detail" }, detail(name, check)));
  });
  const texts = lines.map((line) => line.outerHTML).join("");
  if ($("parts").innerHTML !== texts) $("parts").replaceChildren(...lines);
}

function showDifference(invariants) {
  const found = Object.values(invariants?.differences ?? {});
  const sum = found.length ? found.reduce((one, other) => one + other, 0) : null;
  const status = sum === null ? (invariants ? "warn" : "none") : sum ? "fail" : "pass";
  $("difference").dataset.status = status;
  write("difference", number(sum));
  write("difference-status", { none: STATUS.none, warn: "无进程在核对", pass: "账实相符", fail: "账实不符" }[status]);
}

function detail(name, check) {
  if (name === "ledger") return `在途 ${number(check.claims_on_their_way)} 张${check.lag_s === null ? "" : `，最早一笔已等待 ${check.lag_s.toFixed(1)} 秒`}`;
  if (name === "stocks") return check.recovering.length ? `恢复中：${check.recovering.join("、")}` : "";
  if (name !== "invariants") return "";
  const violated = Object.entries(check.violated).map(([id, what]) => `${id} ${what}`);
  if (violated.length) return `不成立：${violated.join("；")}`;
  return check.watched ? "全部成立：不超发、一人一券、不丢账" : "没有进程在核对";
}

// Time -----------------------------------------------------------------------------------------------

function showTime() {
  write("now", timeOf(now()));
  const next = seen.stocks.map((stock) => Date.parse(stock.opens_at)).filter((ms) => ms > now()).sort((a, b) => a - b)[0];
  write("opening-label", next ? "距下一场开抢" : "全部场次");
  write("opening", next ? span(next - now()) : "已开抢");
  const silentMs = performance.now() - seen.heardMs;
  const oldMs = Math.max(silentMs, seen.asOfMs ? now() - seen.asOfMs : 0);
  const isStale = oldMs > STALE_MS;
  $("stale").hidden = !isStale;
  document.body.classList.toggle("stale", isStale);
  if (isStale) write("stale", `数据已过时 ${Math.floor(oldMs / 1000)} 秒：${silentMs > STALE_MS ? "连接中断，正在重连" : "服务没有更新数据"}。以下数字可能不是最新。`);
}

function span(ms) {
  const s = Math.ceil(ms / 1000);
  const two = (value) => String(value).padStart(2, "0");
  const days = Math.floor(s / 86_400);
  const rest = `${two(Math.floor(s / 3600) % 24)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  return days ? `${days} 天 ${rest}` : rest;
}

function hear(event) {
  seen.heardMs = performance.now();
  const past = [...event.beats ?? [], ...event.points ?? []].sort((one, other) => one.at_ms - other.at_ms);
  for (const each of past) ("claimed" in each ? note : noteBeat)(each);
  if (event.stock) {
    seen.offsetMs = Date.parse(event.stock.server_time) - performance.now();
    seen.asOfMs = Date.parse(event.stock.as_of);
    noteBeat(event.beat);
    note(event.point);
    showBeat(event.beat, event.used);
    write("gate-ms", event.point?.gate_ms?.toFixed(1) ?? "–");
    if (!event.point) write("rate", "–");
    showStocks(event.stock.stocks);
    showHealth(event.health);
    write("as-of", event.stock.as_of.slice(11, 23));
    write("source", event.isStreamed ? "实时推送" : "轮询（推送不可用）");
    rates.draw(seen.asOfMs);
    latencies.draw(seen.asOfMs);
    requests.draw(seen.asOfMs);
    document.documentElement.dataset.ready = "yes";
  }
  showTime();
}

function begin() {
  rates = new Chart($("rate-plot"), [["发放", "#5cc8ff"], ["入账", "#7ee08a", [6, 4]]]);
  latencies = new Chart($("latency-plot"), [["闸口应答", "#5cc8ff"], ["入账滞后", "#ffc65c"], ["抢券 P99", "#ff8f88"], ["本页往返", "#c9a2ff", [6, 4]]]);
  requests = new Chart($("request-plot"), [["请求", "#5cc8ff"], ["拒绝", "#ffc65c", [6, 4]], ["出错", "#ff8f88", [2, 3]]]);
  $("sign-in").addEventListener("click", () => signIn(showStaff));
  showStaff();
  listen(hear);
  setInterval(showTime, 250);
  setInterval(async () => { seen.tripMs = await roundTrip(); }, PROBE_MS);
}

begin();
