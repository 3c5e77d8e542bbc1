// Every text of the page, in both languages.

const ZH = {
  page: "政府消费券 · 抢券", large: "大字版", normal: "标准版", sections: "栏目", rounds: "场次", filters: "筛选",
  tab_claim: "抢券", tab_mine: "我的票券", tab_merchants: "商户", tab_rules: "规则",
  merchants_title: "可用商户", rules_title: "活动规则", close: "关闭", search: "搜索", more: "查看更多",
  search_label: "商户名称或地址", town: "镇街", every_town: "全部镇街",
  until_opening: "距开抢", is_open: "正在抢券", is_over: "本场已结束", is_gone: "本场已抢光", is_paused: "活动暂停",
  is_recovering: "系统恢复中，已领取的券不受影响", server_time: "以服务器时间为准 {time}",
  today: "今日", tomorrow: "明日", day: "{month}月{day}日", opens: "{time} 开抢", soon: "即将开始 {left}",
  grab: "立即抢券", claiming: "抢券中…", busy: "人数较多，请稍候", pending: "处理中…", mine: "查看我的票券",
  sold: "已抢光", paused: "活动暂停", ended: "活动已结束", recovering: "系统恢复中", denied: "不符合领取条件",
  limit: "已达领取上限", lost: "网络不给力，点击重试", signin: "请从 App 进入", failed: "暂未成功，点击重试",
  left: "剩余 {percent}%", plenty: "未开始", won_note: "抢券成功，{until} 前有效", held_note: "已领取，{until} 前有效", retry_note: "{seconds} 秒后自动重试",
  claiming_note: "请勿关闭页面", pending_note: "正在确认结果，请勿关闭页面", next_note: "下一场 {time}",
  lost_note: "可能已抢到，请到“我的票券”查看", denied_note: "请查看活动规则", signin_note: "登录状态无效，请从 App 重新进入",
  paused_note: "请稍后再来，恢复后可继续抢券", recovering_note: "已领取的券不受影响，请稍候", failed_note: "请稍后再试",
  opening_note: "共 {quantity} 张，先到先得", sold_note: "感谢参与", ended_note: "感谢参与", limit_note: "请查看活动规则",
  threshold: "满{yuan}元可用", off: "满{threshold}减{discount}", general: "通用券", dining: "餐饮券",
  state_ISSUED: "未使用", state_USED: "已使用", state_EXPIRED: "已过期", state_VOID: "已作废", state_PENDING: "处理中",
  show_code: "出示券码", valid_until: "有效期至 {time}", where: "适用：{what}", expires_in: "{days}天后过期",
  no_vouchers: "这里还没有票券", no_shops: "没有找到符合条件的商户", trouble: "暂时无法加载，请稍后再试",
  code_label: "券码二维码 {code}", pay_note: "请向收银员出示，结账时扫码核销", rehearsal: "演练环境\u00a0·\u00a0虚拟用户\u00a0{user}，所发票券不可使用",
  told_minute: "距开抢还有 1 分钟", told_ten: "距开抢还有 10 秒", told_open: "开抢了",
  told_won: "抢券成功", told_sold: "已抢光", told_lost: "网络不给力，请点击重试",
  rule_rounds: "发放时间", rule_round: "{name}：{time} 起，领完即止", rule_values: "面额与门槛", rule_limit: "领取限制",
  limit_round: "每人每场每种券限领 1 张", limit_campaign: "每人每种券限领 1 张，各场合计", limit_max: "每人每场合计最多 {count} 张",
  rule_validity: "有效期", rule_validity_text: "{time} 前使用，逾期作废", rule_where: "适用商户", rule_pay: "付款方式",
  payment_code: "向商户出示付款码", scan: "扫描商户收款码", rule_order: "使用说明", rule_order_text: "单笔订单只可使用 1 张消费券，不找零、不兑现、不可转让。",
  rule_hotline: "客服电话", hotline: "客服电话", board: "公告：{notice}", colon: "：", comma: "、", round: "第 {number} 场",
  rule_by: "主办单位", rule_platform: "发放平台", rule_privacy: "隐私说明", rule_privacy_text: "系统只保存用户编号的加密摘要，不保存姓名与手机号。",
};

const EN = {
  page: "Consumption vouchers", large: "Large text", normal: "Standard", sections: "Sections", rounds: "Rounds", filters: "Filter",
  tab_claim: "Claim", tab_mine: "My vouchers", tab_merchants: "Shops", tab_rules: "Rules",
  merchants_title: "Participating shops", rules_title: "Rules", close: "Close", search: "Search", more: "Show more",
  search_label: "Name or address of a shop", town: "Town", every_town: "All towns",
  until_opening: "Opens in", is_open: "Open now", is_over: "This round has ended", is_gone: "All gone in this round", is_paused: "Paused",
  is_recovering: "Recovering; vouchers that you have are safe", server_time: "Server time {time}",
  today: "today", tomorrow: "tomorrow", day: "{day}/{month}", opens: "Opens {time}", soon: "Opening in {left}",
  grab: "Claim now", claiming: "Claiming…", busy: "Busy, please wait", pending: "Confirming…", mine: "Show my vouchers",
  sold: "All gone", paused: "Paused", ended: "Ended", recovering: "Recovering", denied: "Not eligible",
  limit: "Limit reached", lost: "No connection, tap to retry", signin: "Open this in the app", failed: "Not yet, tap to retry",
  left: "{percent}% left", plenty: "Not open yet", won_note: "You have it. Use it before {until}", held_note: "You claimed it. Use it before {until}", retry_note: "Trying again in {seconds} s",
  claiming_note: "Please keep this page open", pending_note: "Being confirmed, please keep this page open", next_note: "Next round {time}",
  lost_note: "You may have one: see “My vouchers”", denied_note: "Please read the rules", signin_note: "Your sign-in is not valid; open this page in the app",
  paused_note: "Please come back later", recovering_note: "Vouchers that you have are safe", failed_note: "Please try again later",
  opening_note: "{quantity} vouchers, first come, first served", sold_note: "Thank you for taking part", ended_note: "Thank you for taking part", limit_note: "Please read the rules",
  threshold: "from ¥{yuan}", off: "¥{discount} off from ¥{threshold}", general: "General voucher", dining: "Dining voucher",
  state_ISSUED: "Not used", state_USED: "Used", state_EXPIRED: "Expired", state_VOID: "Void", state_PENDING: "Confirming",
  show_code: "Show code", valid_until: "Valid until {time}", where: "For: {what}", expires_in: "Expires in {days} days",
  no_vouchers: "No vouchers here yet", no_shops: "No shop was found", trouble: "Cannot be loaded now, please try again",
  code_label: "QR code of voucher {code}", pay_note: "Show this at the till when you pay", rehearsal: "Rehearsal · made-up user {user}; vouchers are worth nothing",
  told_minute: "Opens in one minute", told_ten: "Opens in ten seconds", told_open: "Open now",
  told_won: "You have a voucher", told_sold: "All gone", told_lost: "No connection, please retry",
  rule_rounds: "When", rule_round: "{name}: from {time}, while stocks last", rule_values: "Values", rule_limit: "Limit",
  limit_round: "One voucher of each kind per person and round", limit_campaign: "One voucher of each kind per person", limit_max: "{count} vouchers per person and round at most",
  rule_validity: "Validity", rule_validity_text: "To be used before {time}", rule_where: "Where", rule_pay: "How to pay",
  payment_code: "Show your payment code to the shop", scan: "Scan the shop's code", rule_order: "Use", rule_order_text: "One voucher an order; no change, no cash, not transferable.",
  rule_hotline: "Hotline", hotline: "Hotline", board: "Notice: {notice}", colon: ": ", comma: ", ", round: "Round {number}",
  rule_by: "Organiser", rule_platform: "Platform", rule_privacy: "Privacy", rule_privacy_text: "Only a keyed hash of your user number is stored, neither name nor telephone number.",
};

// Categories of merchants, which the campaign names in Chinese; one that is not here stays as it is.
const CATEGORIES = {
  超市: "supermarkets", 商场: "shopping malls", 百货: "department stores", 家电: "appliances", 家具: "furniture",
  建材: "building materials", 火锅消费周: "Hotpot Week", 北渡鱼: "Beidu fish", 餐饮: "restaurants",
};

const ALL = { zh: ZH, en: EN };
let language = "zh";

/** Choose the language of every text from now on. */
export function speak(wanted) {
  language = wanted in ALL ? wanted : "zh";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}

export const spoken = () => language;

/** Return a text with its gaps filled; a key without a text stands for itself. */
export function t(key, gaps = {}) {
  return (ALL[language][key] ?? (language === "en" && CATEGORIES[key] || key)).replace(/\{(\w+)\}/g, (_, name) => gaps[name] ?? "");
}

const two = (number) => String(number).padStart(2, "0");
const CHINA_MS = 8 * 3_600_000; // China Standard Time, whatever the phone's zone is
const china = (ms) => new Date(ms + CHINA_MS);

/** Write a time of day in China, 10:00 or 10:00:03. */
export function timeOfDay(ms, withSeconds = false) {
  const at = china(ms);
  return [at.getUTCHours(), at.getUTCMinutes(), ...(withSeconds ? [at.getUTCSeconds()] : [])].map(two).join(":");
}

/** Write a day in China as people say it, with the time of day. */
export function instant(ms, nowMs) {
  const dayOf = (each) => Math.floor((each + CHINA_MS) / 86_400_000);
  const away = dayOf(ms) - dayOf(nowMs);
  const at = china(ms);
  const near = ["today", "tomorrow"][away];
  const day = t(near ?? "day", { month: at.getUTCMonth() + 1, day: at.getUTCDate() });
  return `${day}${language === "zh" && near ? "" : " "}${timeOfDay(ms)}`;
}

/** Write a duration as a countdown, 00:12:31, or 59 s as 00:59. */
export function countdown(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  const parts = [Math.floor(s / 60) % 60, s % 60];
  return (s >= 3600 ? [Math.floor(s / 3600), ...parts] : parts).map(two).join(":");
}

/** Write money; whole yuan without a fraction. */
export const yuan = (fen) => (fen % 100 ? (fen / 100).toFixed(2) : String(fen / 100));
