// How stocks, vouchers, merchants and rules are written into the page; nothing is asked here.

import { clock } from "./service.js";
import { picture } from "./qr.js";
import { instant, spoken, t, yuan } from "./words.js";

export const $ = (id) => document.getElementById(id);

/** Make an element; children are elements or texts, never markup. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Write a text only when it changes, so that nothing flickers and no reader repeats itself. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Return the name of a class in the language of the page. */
export const className = (code, campaign) => {
  const own = t(code);
  return own !== code ? own : campaign?.classes.find((each) => each.class_code === code)?.name ?? code;
};

const amount = (fen, thresholdFen) =>
  make("div", { class: "amount" }, make("p", {}, make("small", {}, "¥"), yuan(fen)), make("p", { class: "small" }, t("threshold", { yuan: yuan(thresholdFen) })));

/** Return a card for a stock, with a method to show how it stands. */
export function stockCard(stock, campaign, press) {
  const name = className(stock.class, campaign);
  const off = t("off", { threshold: yuan(stock.threshold_fen), discount: yuan(stock.discount_fen) });
  const fill = make("span");
  const left = make("span", { class: "left small" });
  const note = make("p", { class: "note small", id: `note-${stock.stock_id}` });
  const button = make("button", { type: "button", class: "main", "aria-describedby": note.id });
  const card = make("li", { class: "card", "data-stock": stock.stock_id },
    amount(stock.discount_fen, stock.threshold_fen),
    make("div", { class: "about" }, make("h3", {}, name, " ", make("span", { class: "off" }, off)),
      make("p", { class: "stand" }, make("span", { class: "bar", "aria-hidden": "true" }, fill), left), note),
    button);
  button.addEventListener("click", () => press(stock.stock_id));
  const show = (state, row) => {
    const percent = row.remaining === null ? 0 : Math.ceil(100 * row.remaining / row.quantity);
    const isOver = ["sold", "ended"].includes(state.kind);
    card.dataset.kind = state.kind;
    fill.style.width = `${percent}%`;
    write(left, t("left", { percent }));
    write(note, state.note);
    write(button, state.label);
    button.setAttribute("aria-label", `${state.label} ${name} ${off}`);
    button.disabled = !state.enabled;
    button.setAttribute("aria-busy", String(["claiming", "pending"].includes(state.kind)));
    card.classList.toggle("over", isOver);
  };
  return { card, show };
}

/** Return a card for a voucher of the user. */
export function voucherCard(voucher, campaign, open) {
  const untilMs = Date.parse(voucher.available_until);
  const days = Math.ceil((untilMs - clock.now()) / 86_400_000);
  const what = campaign?.classes.find((each) => each.class_code === voucher.class)?.merchant_categories ?? [];
  const lines = [make("p", { class: "small" }, t("valid_until", { time: instant(untilMs, clock.now()) }))];
  if (voucher.state === "ISSUED" && days <= 3) lines.push(make("p", { class: "small urgent" }, t("expires_in", { days })));
  if (what.length) lines.push(make("p", { class: "small" }, t("where", { what: listed(what) })));
  const card = make("li", { class: `card ${voucher.state === "ISSUED" ? "" : "over"}`, "data-voucher": voucher.stock_id },
    amount(voucher.discount_fen, voucher.threshold_fen),
    make("div", { class: "about" },
      make("h3", {}, className(voucher.class, campaign), " ", make("span", { class: "tag" }, t(`state_${voucher.state}`))), ...lines));
  if (voucher.state === "ISSUED") {
    const button = make("button", { type: "button", class: "main" }, t("show_code"));
    button.addEventListener("click", () => open(voucher));
    card.append(button);
  }
  return card;
}

/** Open the dialog with a voucher's code. */
export function showCode(voucher, campaign) {
  const off = t("off", { threshold: yuan(voucher.threshold_fen), discount: yuan(voucher.discount_fen) });
  const code = voucher.voucher_code.replace(/(.{4})(?=.{2})/g, "$1 ");
  write($("voucher-title"), `${className(voucher.class, campaign)} ${off}`);
  $("qr").replaceChildren(picture(voucher.voucher_code, t("code_label", { code })));
  write($("code"), code);
  write($("voucher-note"), t("pay_note"));
  $("voucher").showModal();
}

/** Return a line of the list of merchants. */
export function shop(merchant, campaign) {
  const tags = merchant.classes.map((code) => make("span", { class: "tag" }, className(code, campaign)));
  return make("li", {}, make("h3", {}, merchant.name, " ", ...tags),
    make("p", { class: "small" }, `${merchant.town} · ${merchant.address}`), make("p", { class: "small" }, t(merchant.category)));
}

/** Return the name of a round in the language of the page. */
export const roundName = ({ round_id: id, name }) => (spoken() === "en" && /^r\d+$/.test(id) ? t("round", { number: id.slice(1) }) : name);

const listed = (names) => names.map((each) => t(each)).join(t("comma"));

/** Write the telephone number that citizens call, to be tapped. */
export function writeHotline(place, number) {
  place.hidden = !number;
  place.replaceChildren(t("hotline"), make("a", { href: `tel:${(number ?? "").replace(/ /g, "")}` }, number ?? ""));
}

/** Return the rules, terms and definitions, made from the campaign itself. */
export function rules(campaign) {
  const now = clock.now();
  const at = (text) => instant(Date.parse(text), now);
  const values = campaign.classes.map((each) => `${className(each.class_code, campaign)}${t("colon")}` + listed(each.tiers
    .map((tier) => t("off", { threshold: yuan(tier.threshold_fen), discount: yuan(tier.discount_fen) }))));
  const limits = [t(campaign.limit_scope === "round" ? "limit_round" : "limit_campaign")];
  if (campaign.per_user_per_round) limits.push(t("limit_max", { count: campaign.per_user_per_round }));
  return [
    ["rule_rounds", campaign.rounds.map((each) => t("rule_round", { name: roundName(each), time: at(each.opens_at) }))],
    ["rule_values", values],
    ["rule_limit", limits],
    ["rule_validity", [t("rule_validity_text", { time: at(campaign.available_until) })]],
    ["rule_where", campaign.classes.map((each) => `${className(each.class_code, campaign)}${t("colon")}${listed(each.merchant_categories)}`)],
    ["rule_pay", campaign.merchants.accepts.map((each) => t(each))],
    ["rule_order", [t("rule_order_text")]],
    ["rule_by", [campaign.organiser]],
    ["rule_platform", [campaign.platform]],
    ["rule_hotline", campaign.hotline ? [campaign.hotline] : []],
    ["rule_privacy", [t("rule_privacy_text")]],
  ].filter(([, lines]) => lines.length).flatMap(([key, lines]) => [make("dt", {}, t(key)), ...lines.map((line) => make("dd", {}, line))]);
}
