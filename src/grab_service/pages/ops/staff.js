// What staff can do: sign in with a token of theirs, pause and resume a stock with a reason.

const $ = (id) => document.getElementById(id);
let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
if (token) history.replaceState(null, "", location.pathname);

export const isSignedIn = () => Boolean(token);

/** Ask for a text in the dialog; the check gets it and returns what is wrong, or nothing. */
function prompt({ title, text, label, confirm, check }) {
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-label").textContent = label;
  $("confirm").textContent = confirm;
  $("ask-trouble").textContent = "";
  $("answer").value = "";
  $("cancel").onclick = () => $("ask").close();
  $("ask-form").onsubmit = async (event) => {
    event.preventDefault();
    $("confirm").disabled = true;
    const trouble = await check($("answer").value.trim());
    $("confirm").disabled = false;
    $("ask-trouble").textContent = trouble ?? "";
    if (!trouble) $("ask").close();
  };
  $("ask").showModal();
}

/** Let staff sign in or out; the token stays in this page's memory only. */
export function signIn(changed) {
  if (token) {
    token = "";
    changed();
    return;
  }
  prompt({
    title: "工作人员登录",
    text: "粘贴具有 admin:round 权限的令牌。令牌只保存在本页面内存中，关闭页面即失效。",
    label: "令牌",
    confirm: "登录",
    check: async (answer) => {
      if (!answer) return "请填写令牌";
      token = answer;
      changed();
      return "";
    },
  });
}

/** Ask for the reason, then pause or resume the stock. */
export function decide(stock, name, isPausing, changed) {
  prompt({
    title: `${isPausing ? "暂停" : "恢复"}发放：${name}`,
    text: isPausing ? "暂停后用户不能领取；已领取的券不受影响。须双人复核的部署中，单人暂停一分钟后自动恢复，一小时一次。" : "恢复后用户可以继续领取。",
    label: "原因（将记入日志）",
    confirm: isPausing ? "确认暂停" : "确认恢复",
    check: async (reason) => {
      if (!reason) return "请填写原因";
      if (reason.length > 200) return "原因不超过 200 字";
      const path = `/v1/admin/stocks/${encodeURIComponent(stock.stock_id)}/${isPausing ? "pause" : "resume"}`;
      return send(path, { reason }, changed);
    },
  });
}

async function send(path, body, changed) {
  try {
    const headers = { "Authorization": `Bearer ${token}`, "Content-Type": "application/json" };
    const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), credentials: "omit" });
    if (response.ok) return "";
    const { message, detail } = await response.json();
    if (response.status === 401) {
      token = "";
      changed();
    }
    return `${message}（${detail}）`;
  } catch {
    return "没有收到应答，请查看状态后重试";
  }
}
