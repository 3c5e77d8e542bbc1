// QR codes (ISO/IEC 18004): bytes, error correction M, versions 1 to 6. Enough for a voucher's code.

// By version: blocks, data bytes of a block, correction bytes of a block.
const BLOCKS = [null, [1, 16, 10], [1, 28, 16], [1, 44, 26], [2, 32, 18], [2, 43, 24], [4, 27, 16]];
const MASKS = [
  (x, y) => (x + y) % 2,
  (x, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => ((x / 3 | 0) + (y / 2 | 0)) % 2,
  (x, y) => (x * y) % 2 + (x * y) % 3,
  (x, y) => ((x * y) % 2 + (x * y) % 3) % 2,
  (x, y) => ((x + y) % 2 + (x * y) % 3) % 2,
];

/** Return the matrix of a text, rows of booleans, true is dark. Without a mask the best one is chosen. */
export function encode(text, mask) {
  const bytes = new TextEncoder().encode(text);
  const version = BLOCKS.findIndex((block) => block && block[0] * block[1] >= bytes.length + 2);
  if (version < 0) throw new RangeError("too long for these codes");
  const words = interleaved(dataWords(bytes, BLOCKS[version]), BLOCKS[version]);
  const drawn = (number) => drawMatrix(version, words, number);
  if (mask !== undefined) return drawn(mask);
  return MASKS.map((_, number) => drawn(number)).reduce((best, each) => (penalty(each) < penalty(best) ? each : best));
}

/** Return an SVG element that shows a text as a QR code with its quiet zone. */
export function picture(text, label) {
  const matrix = encode(text);
  const size = matrix.length + 8;
  const path = matrix.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + 4} ${y + 4}h1v1h-1z` : ""))).join("");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const part = (name, attributes) => {
    const element = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    svg.append(element);
  };
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  svg.setAttribute("shape-rendering", "crispEdges");
  part("rect", { width: size, height: size, fill: "#fff" });
  part("path", { d: path, fill: "#000" });
  return svg;
}

function dataWords(bytes, [blocks, length]) {
  const bits = [];
  const put = (value, count) => { for (let i = count - 1; i >= 0; i--) bits.push((value >> i) & 1); };
  put(4, 4);
  put(bytes.length, 8);
  bytes.forEach((byte) => put(byte, 8));
  put(0, 4);
  const words = [];
  for (let i = 0; i < bits.length; i += 8) words.push(parseInt(bits.slice(i, i + 8).join("").padEnd(8, "0"), 2));
  for (let pad = 0xec; words.length < blocks * length; pad ^= 0xec ^ 0x11) words.push(pad);
  return words.slice(0, blocks * length);
}

function interleaved(words, [blocks, length, corrections]) {
  const parts = Array.from({ length: blocks }, (_, i) => words.slice(i * length, (i + 1) * length));
  const checks = parts.map((part) => correction(part, corrections));
  const columns = (rows, count) => Array.from({ length: count }, (_, i) => rows.map((row) => row[i])).flat();
  return [...columns(parts, length), ...columns(checks, corrections)];
}

function times(a, b) { // in the field of 256 elements
  let product = 0;
  for (let i = 7; i >= 0; i--) {
    product = (product << 1) ^ ((product >> 7) * 0x11d);
    product ^= ((b >> i) & 1) * a;
  }
  return product;
}

function correction(data, degree) {
  const divisor = new Array(degree - 1).fill(0).concat(1);
  let root = 1;
  for (let i = 0; i < degree; i++, root = times(root, 2)) {
    for (let j = 0; j < degree; j++) divisor[j] = times(divisor[j], root) ^ (divisor[j + 1] ?? 0);
  }
  const rest = new Array(degree).fill(0);
  for (const word of data) {
    const factor = word ^ rest.shift();
    rest.push(0);
    divisor.forEach((each, i) => { rest[i] ^= times(each, factor); });
  }
  return rest;
}

function drawMatrix(version, words, mask) {
  const size = 17 + 4 * version;
  const dark = Array.from({ length: size }, () => new Array(size).fill(false));
  const fixed = Array.from({ length: size }, () => new Array(size).fill(false));
  const set = (x, y, value) => {
    if (x < 0 || y < 0 || x >= size || y >= size) return;
    dark[y][x] = Boolean(value);
    fixed[y][x] = true;
  };
  const square = (cx, cy, reach, light) => {
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) set(cx + dx, cy + dy, !light.includes(Math.max(Math.abs(dx), Math.abs(dy))));
    }
  };
  for (let i = 0; i < size; i++) { set(6, i, i % 2 === 0); set(i, 6, i % 2 === 0); }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(x, y, 4, [2, 4]);
  if (version > 1) square(size - 7, size - 7, 2, [1]);
  drawFormat(set, size, mask);
  let i = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step++) {
      for (let x = right; x > right - 2; x--) {
        const y = (right + 1) & 2 ? step : size - 1 - step;
        if (fixed[y][x]) continue;
        const bit = i < words.length * 8 ? (words[i >> 3] >> (7 - (i & 7))) & 1 : 0;
        dark[y][x] = Boolean(bit) !== (MASKS[mask](x, y) === 0);
        i++;
      }
    }
  }
  return dark;
}

function drawFormat(set, size, mask) {
  let rest = mask; // level M is 00
  for (let i = 0; i < 10; i++) rest = (rest << 1) ^ ((rest >> 9) * 0x537);
  const format = ((mask << 10) | rest) ^ 0x5412;
  const bit = (i) => (format >> i) & 1;
  for (let i = 0; i < 6; i++) set(8, i, bit(i));
  set(8, 7, bit(6));
  set(8, 8, bit(7));
  set(7, 8, bit(8));
  for (let i = 9; i < 15; i++) set(14 - i, 8, bit(i));
  for (let i = 0; i < 8; i++) set(size - 1 - i, 8, bit(i));
  for (let i = 8; i < 15; i++) set(8, size - 15 + i, bit(i));
  set(8, size - 8, true);
}

function penalty(matrix) {
  const columns = matrix.map((_, x) => matrix.map((row) => row[x]));
  let sum = 0;
  for (const line of [...matrix, ...columns].map((row) => row.map(Number).join(""))) {
    for (const run of line.match(/0{5,}|1{5,}/g) ?? []) sum += run.length - 2;
    for (const finder of ["10111010000", "00001011101"]) sum += 40 * (line.split(finder).length - 1);
  }
  matrix.slice(1).forEach((row, y) => row.slice(1).forEach((dark, x) => {
    if (dark === row[x] && dark === matrix[y][x] && dark === matrix[y][x + 1]) sum += 3;
  }));
  const share = matrix.flat().filter(Boolean).length / matrix.length ** 2;
  return sum + 10 * Math.floor(Math.abs(share * 20 - 10));
}
