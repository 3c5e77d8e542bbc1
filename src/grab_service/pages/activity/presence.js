// Proof of presence by work: a number for which SHA-256(challenge + number) begins with enough zeros.
// By hand, since crypto.subtle is not there without TLS and takes a turn of the loop for each hash.

const SLICE_MS = 25; // the page goes on between two slices
const fraction = (x) => Math.floor((x - Math.floor(x)) * 2 ** 32);
const primes = [];
for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
const K = primes.map((p) => fraction(Math.cbrt(p)) | 0);
const START = primes.slice(0, 8).map((p) => fraction(Math.sqrt(p)) | 0);
const W = new Int32Array(64);
const turn = (x, n) => (x >>> n) | (x << (32 - n));

/** The first 32 bits of the SHA-256 of ASCII text. */
function first(text) {
  const blocks = (text.length + 8 >> 6) + 1, words = new Int32Array(blocks * 16);
  for (let i = 0; i < text.length; i++) words[i >> 2] |= text.charCodeAt(i) << 24 - i % 4 * 8;
  words[text.length >> 2] |= 0x80 << 24 - text.length % 4 * 8;
  words[words.length - 1] = text.length * 8;
  let hash = START;
  for (let at = 0; at < words.length; at += 16) {
    let [a, b, c, d, e, f, g, h] = hash;
    for (let i = 0; i < 64; i++) {
      if (i < 16) W[i] = words[at + i];
      else {
        const x = W[i - 15], y = W[i - 2];
        W[i] = W[i - 16] + W[i - 7] + (turn(x, 7) ^ turn(x, 18) ^ x >>> 3) + (turn(y, 17) ^ turn(y, 19) ^ y >>> 10);
      }
      const t = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & f ^ ~e & g) + K[i] + W[i] | 0;
      const u = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + (a & b ^ a & c ^ b & c) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, d + t | 0, c, b, a, t + u | 0];
    }
    hash = [a, b, c, d, e, f, g, h].map((each, i) => each + hash[i] | 0);
  }
  return hash[0];
}

/** Solve a challenge; resolves to the number in decimal digits. */
export async function solve(challenge, bits) {
  for (let n = 0, pauseMs = performance.now() + SLICE_MS; ; n++) {
    if (Math.clz32(first(challenge + n)) >= bits) return String(n);
    if (n % 256 === 0 && performance.now() > pauseMs) {
      await new Promise((go) => setTimeout(go));
      pauseMs = performance.now() + SLICE_MS;
    }
  }
}
