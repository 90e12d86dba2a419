"use strict";
// Computes a network in plain JavaScript. A value is {h, w, c, data}: an image, channels last, or a vector with h = w = 1.
// Products are summed in double precision and stored in single precision. Runs in browsers and in Node.

const Engine = (() => {
  const value = (h, w, c, data) => ({ h, w, c, data: data || new Float32Array(h * w * c) });
  const CHUNK = 1 << 20; // numbers of unfolded pixels at a time

  // Numbers of a tensor: float32, or the bits of float16, little-endian.
  function numbers(bytes, offset, count, kind) {
    if (kind === "float32") return new Float32Array(bytes.buffer, bytes.byteOffset + offset, count);
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset + offset, count);
    const found = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const bits = halves[i], exponent = (bits >> 10) & 31, fraction = bits & 1023;
      const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
      found[i] = bits & 0x8000 ? -size : size;
    }
    return found;
  }

  // Weights (depth, columns) in panels of four columns, each read in order.
  function packed(weights, depth, columns) {
    const panels = Math.ceil(columns / 4), found = new Float32Array(panels * depth * 4);
    for (let k = 0; k < depth; k++)
      for (let j = 0; j < columns; j++) found[((j >> 2) * depth + k) * 4 + (j & 3)] = weights[k * columns + j];
    return found;
  }

  // rows (count, depth) times packed weights plus bias, into out from `start`, `stride` numbers a row.
  function multiply(rows, count, depth, panels, bias, columns, out, start, stride) {
    for (let j = 0; j < columns; j += 4) {
      const panel = (j >> 2) * depth * 4, wide = Math.min(4, columns - j);
      const b0 = bias[j], b1 = wide > 1 ? bias[j + 1] : 0, b2 = wide > 2 ? bias[j + 2] : 0, b3 = wide > 3 ? bias[j + 3] : 0;
      let i = 0;
      for (; i + 1 < count; i += 2) {
        let s0 = b0, s1 = b1, s2 = b2, s3 = b3, t0 = b0, t1 = b1, t2 = b2, t3 = b3;
        let p = panel, q = i * depth;
        for (let k = 0; k < depth; k++, p += 4, q++) {
          const x = rows[q], y = rows[q + depth];
          const w0 = panels[p], w1 = panels[p + 1], w2 = panels[p + 2], w3 = panels[p + 3];
          s0 += x * w0; s1 += x * w1; s2 += x * w2; s3 += x * w3;
          t0 += y * w0; t1 += y * w1; t2 += y * w2; t3 += y * w3;
        }
        const at = start + i * stride + j, next = at + stride;
        out[at] = s0; out[next] = t0;
        if (wide > 1) { out[at + 1] = s1; out[next + 1] = t1; }
        if (wide > 2) { out[at + 2] = s2; out[next + 2] = t2; }
        if (wide > 3) { out[at + 3] = s3; out[next + 3] = t3; }
      }
      for (; i < count; i++) {
        let s0 = b0, s1 = b1, s2 = b2, s3 = b3, p = panel;
        for (let k = 0, q = i * depth; k < depth; k++, p += 4, q++) {
          const x = rows[q];
          s0 += x * panels[p]; s1 += x * panels[p + 1]; s2 += x * panels[p + 2]; s3 += x * panels[p + 3];
        }
        const at = start + i * stride + j;
        out[at] = s0;
        if (wide > 1) out[at + 1] = s1;
        if (wide > 2) out[at + 2] = s2;
        if (wide > 3) out[at + 3] = s3;
      }
    }
  }

  // The size of the output of a sliding window. With `same` there is a window for every stride, and padding as that needs.
  function slid(x, op) {
    if (op.output) return op.output;
    if (op.same) {
      const size = [Math.ceil(x.h / op.stride[0]), Math.ceil(x.w / op.stride[1])];
      const more = size.map((each, i) => Math.max((each - 1) * op.stride[i] + op.kernel[i] - (i ? x.w : x.h), 0));
      op.pads = more.flatMap((each) => [Math.floor(each / 2), Math.ceil(each / 2)]);
      return size;
    }
    const [top, bottom, left, right] = op.pads;
    const side = (size, before, after, axis) => {
      const room = size + before + after - (op.kernel[axis] - 1) * op.dilation[axis] - 1;
      return (op.ceil ? Math.ceil : Math.floor)(room / op.stride[axis]) + 1;
    };
    return [side(x.h, top, bottom, 0), side(x.w, left, right, 1)];
  }

  function convolution(x, op) {
    const [p, q] = slid(x, op), [kh, kw] = op.kernel, groups = op.groups;
    const inside = x.c / groups, filters = op.filters / groups, y = value(p, q, op.filters);
    if (inside === 1 && filters === 1) return depthwise(x, op, y);
    const depth = kh * kw * inside;
    if (!op.panels) {
      op.panels = [];
      for (let g = 0; g < groups; g++) {
        const own = new Float32Array(depth * filters);
        for (let k = 0; k < depth; k++)
          for (let f = 0; f < filters; f++) own[k * filters + f] = op.weight[k * op.filters + g * filters + f];
        op.panels.push(packed(own, depth, filters));
      }
    }
    const direct = kh * kw === 1 && op.stride[0] * op.stride[1] === 1 && groups === 1 && !op.pads.some(Boolean);
    const lines = direct ? p : Math.max(1, Math.min(p, Math.floor(CHUNK / (q * depth))));
    const rows = direct ? x.data : new Float32Array(lines * q * depth);
    for (let g = 0; g < groups; g++) {
      const bias = op.bias.subarray(g * filters, (g + 1) * filters);
      for (let first = 0; first < p; first += lines) {
        const some = Math.min(lines, p - first);
        if (!direct) unfold(x, op, rows, first, some, q, g * inside, inside);
        multiply(rows, some * q, depth, op.panels[g], bias, filters, y.data, first * q * op.filters + g * filters, op.filters);
      }
    }
    return y;
  }

  // The pixels under each window of `some` lines, one window a row; 0 beyond the border.
  function unfold(x, op, rows, first, some, q, channel, inside) {
    const [kh, kw] = op.kernel;
    let at = 0;
    for (let i = first; i < first + some; i++)
      for (let j = 0; j < q; j++)
        for (let k = 0; k < kh; k++) {
          const r = i * op.stride[0] + k * op.dilation[0] - op.pads[0];
          for (let l = 0; l < kw; l++, at += inside) {
            const s = j * op.stride[1] + l * op.dilation[1] - op.pads[2];
            if (r < 0 || r >= x.h || s < 0 || s >= x.w) rows.fill(0, at, at + inside);
            else {
              const from = (r * x.w + s) * x.c + channel;
              for (let c = 0; c < inside; c++) rows[at + c] = x.data[from + c];
            }
          }
        }
  }

  function depthwise(x, op, y) {
    const [kh, kw] = op.kernel, c = x.c, sums = new Float64Array(c);
    for (let i = 0, at = 0; i < y.h; i++)
      for (let j = 0; j < y.w; j++, at += c) {
        sums.set(op.bias);
        for (let k = 0; k < kh; k++) {
          const r = i * op.stride[0] + k * op.dilation[0] - op.pads[0];
          if (r < 0 || r >= x.h) continue;
          for (let l = 0; l < kw; l++) {
            const s = j * op.stride[1] + l * op.dilation[1] - op.pads[2];
            if (s < 0 || s >= x.w) continue;
            const from = (r * x.w + s) * c, tap = (k * kw + l) * c;
            for (let d = 0; d < c; d++) sums[d] += x.data[from + d] * op.weight[tap + d];
          }
        }
        y.data.set(sums, at);
      }
    return y;
  }

  // Calls `use` for every output number of a pooling with the numbers of the input pixels under its window.
  function pooled(x, op, use) {
    const [p, q] = slid(x, op), [kh, kw] = op.kernel, y = value(p, q, x.c), places = [];
    for (let i = 0; i < p; i++)
      for (let j = 0; j < q; j++) {
        places.length = 0;
        for (let k = 0; k < kh; k++) {
          const r = i * op.stride[0] + k * op.dilation[0] - op.pads[0];
          for (let l = 0; l < kw; l++) {
            const s = j * op.stride[1] + l * op.dilation[1] - op.pads[2];
            if (r >= 0 && r < x.h && s >= 0 && s < x.w) places.push((r * x.w + s) * x.c);
          }
        }
        for (let c = 0; c < x.c; c++) use(y, (i * q + j) * x.c + c, places, c, i * q + j);
      }
    return y;
  }

  function largest(data, places, c) {
    let best = places[0] + c;
    for (const place of places) if (data[place + c] > data[best]) best = place + c;
    return best;
  }

  const fraction = (op, places, window) => (op.shares ? op.shares[window] : 1 / places.length);

  function erf(x) {
    const a = Math.abs(x);
    if (a > 6) return Math.sign(x);
    if (a < 2.5) {
      let term = x, sum = x;
      for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) sum += (term *= (-x * x) / n) / (2 * n + 1);
      return (2 / Math.sqrt(Math.PI)) * sum;
    }
    let tail = 0;
    for (let n = 60; n > 0; n--) tail = n / 2 / (a + tail);
    return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + tail));
  }

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const elu = (x, a) => (x > 0 ? x : a * Math.expm1(x));
  const ACTIVATIONS = {
    relu: (x) => (x > 0 ? x : 0),
    clip: (x, a, b) => Math.min(Math.max(x, a), b),
    sigmoid,
    tanh: Math.tanh,
    leaky_relu: (x, a) => (x > 0 ? x : a * x),
    elu,
    selu: (x, a, b) => b * elu(x, a),
    gelu: (x) => (x * (1 + erf(x * Math.SQRT1_2))) / 2,
    silu: (x) => x * sigmoid(x),
    mish: (x) => x * Math.tanh(softplus(x)),
    softplus,
    hard_swish: (x) => (x * Math.min(Math.max(x + 3, 0), 6)) / 6,
  };

  function mapped(x, f) {
    const y = value(x.h, x.w, x.c);
    for (let i = 0; i < x.data.length; i++) y.data[i] = f(x.data[i], i % x.c);
    return y;
  }

  function groupNorm(x, op) {
    const y = value(x.h, x.w, x.c), size = x.c / op.groups, pixels = x.h * x.w, blocks = op.pixels ? pixels : 1;
    for (let block = 0; block < blocks; block++)
      for (let g = 0; g < op.groups; g++) {
        const first = op.pixels ? block : 0, last = op.pixels ? block + 1 : pixels;
        let sum = 0, squares = 0;
        const every = (visit) => {
          for (let p = first; p < last; p++)
            for (let c = g * size; c < (g + 1) * size; c++) visit(p * x.c + c, c);
        };
        every((i) => (sum += x.data[i]));
        const count = (last - first) * size, mean = sum / count;
        every((i) => (squares += (x.data[i] - mean) ** 2));
        const scale = 1 / Math.sqrt(squares / count + op.eps);
        every((i, c) => (y.data[i] = (x.data[i] - mean) * scale * op.gamma[c] + op.beta[c]));
      }
    return y;
  }

  function product(one, other) {
    const [image, gate] = one.h * one.w >= other.h * other.w ? [one, other] : [other, one];
    if (gate.h * gate.w === image.h * image.w) return mapped2(image, gate, (a, b) => a * b);
    return mapped(image, (x, c) => x * gate.data[c]);
  }

  function mapped2(one, other, f) {
    const y = value(one.h, one.w, one.c);
    for (let i = 0; i < y.data.length; i++) y.data[i] = f(one.data[i], other.data[i]);
    return y;
  }

  function concatenated(parts) {
    const channels = parts.reduce((sum, part) => sum + part.c, 0), { h, w } = parts[0], y = value(h, w, channels);
    for (let p = 0, at = 0; p < h * w; p++)
      for (const part of parts) {
        y.data.set(part.data.subarray(p * part.c, (p + 1) * part.c), at);
        at += part.c;
      }
    return y;
  }

  const FORWARD = {
    conv: ([x], op) => convolution(x, op),
    dense: ([x], op) => {
      const y = value(1, 1, op.filters);
      op.panels = op.panels || packed(op.weight, x.data.length, op.filters);
      multiply(x.data, 1, x.data.length, op.panels, op.bias, op.filters, y.data, 0, op.filters);
      return y;
    },
    affine: ([x], op) => mapped(x, (each, c) => each * op.scale[c] + op.shift[c]),
    activation: ([x], op) => {
      const f = ACTIVATIONS[op.name], { a, b } = op;
      return mapped(x, (each) => f(each, a, b));
    },
    prelu: ([x], op) => mapped(x, (each, c) => (each > 0 ? each : each * op.slope[c])),
    max: ([x], op) => pooled(x, op, (y, at, places, c) => (y.data[at] = x.data[largest(x.data, places, c)])),
    average: ([x], op) =>
      pooled(x, op, (y, at, places, c, window) => {
        let sum = 0;
        for (const place of places) sum += x.data[place + c];
        y.data[at] = sum * fraction(op, places, window);
      }),
    mean: ([x]) => {
      const y = value(1, 1, x.c), sums = new Float64Array(x.c);
      for (let i = 0; i < x.data.length; i++) sums[i % x.c] += x.data[i];
      for (let c = 0; c < x.c; c++) y.data[c] = sums[c] / (x.h * x.w);
      return y;
    },
    flatten: ([x]) => value(1, 1, x.data.length, x.data),
    group_norm: ([x], op) => groupNorm(x, op),
    add: ([x, y]) => mapped2(x, y, (a, b) => a + b),
    multiply: ([x, y]) => product(x, y),
    concat: (parts) => concatenated(parts),
  };

  // The gradient of the input of an operation with one input, given that of its output.
  const BACKWARD = {
    dense: (x, dy, op) => {
      const dx = value(x.h, x.w, x.c);
      for (let k = 0; k < x.data.length; k++) {
        let sum = 0;
        for (let j = 0; j < op.filters; j++) sum += op.weight[k * op.filters + j] * dy.data[j];
        dx.data[k] = sum;
      }
      return dx;
    },
    affine: (x, dy, op) => mapped(dy, (each, c) => each * op.scale[c]),
    activation: (x, dy, op) => {
      const f = ACTIVATIONS[op.name], step = 1e-5;
      const slope = (at) => (f(at + step, op.a, op.b) - f(at - step, op.a, op.b)) / (2 * step);
      // At 0, where ReLU has no derivative, ours is 0.
      return mapped2(x, dy, (at, each) => (at === 0 && op.name === "relu" ? 0 : each * slope(at)));
    },
    prelu: (x, dy, op) => {
      const dx = value(x.h, x.w, x.c);
      for (let i = 0; i < dx.data.length; i++) dx.data[i] = dy.data[i] * (x.data[i] > 0 ? 1 : op.slope[i % x.c]);
      return dx;
    },
    max: (x, dy, op) => {
      const dx = value(x.h, x.w, x.c);
      pooled(x, op, (y, at, places, c) => (dx.data[largest(x.data, places, c)] += dy.data[at]));
      return dx;
    },
    average: (x, dy, op) => {
      const dx = value(x.h, x.w, x.c);
      pooled(x, op, (y, at, places, c, window) => {
        for (const place of places) dx.data[place + c] += dy.data[at] * fraction(op, places, window);
      });
      return dx;
    },
    mean: (x, dy) => mapped(x, (_, c) => dy.data[c] / (x.h * x.w)),
    flatten: (x, dy) => value(x.h, x.w, x.c, dy.data),
  };

  const TENSORS = ["weight", "bias", "scale", "shift", "slope", "gamma", "beta", "shares"];

  class Network {
    // description: the operations in order, each with the numbers of its inputs, -1 for the network's input.
    constructor(description, bytes) {
      this.description = description;
      this.operations = description.operations.map((op) => {
        const own = { ...op };
        for (const key of TENSORS) if (op[key]) own[key] = numbers(bytes, op[key][0], op[key][1], op[key][2]);
        if ((op.kind === "conv" || op.kind === "dense") && !own.bias) own.bias = new Float32Array(op.filters);
        return own;
      });
    }

    // The outputs of all operations for stored pixels (h * w * c).
    outputs(pixels, h, w) {
      const { scale, offset } = this.description, c = scale.length;
      const x = value(h, w, c);
      for (let i = 0; i < pixels.length; i++) x.data[i] = pixels[i] * scale[i % c] + offset[i % c];
      const found = [];
      for (const op of this.operations)
        found.push(FORWARD[op.kind](op.inputs.map((index) => (index < 0 ? x : found[index])), op));
      return found;
    }

    run(pixels) {
      const [h, w] = this.description.shape, outputs = this.outputs(pixels, h, w);
      const logits = Array.from(outputs[outputs.length - 1].data), most = Math.max(...logits);
      const powers = logits.map((each) => Math.exp(each - most)), sum = powers.reduce((a, b) => a + b);
      return { logits, probabilities: powers.map((each) => each / sum), outputs };
    }

    // Where the network saw a class, (h, w) numbers from 0 to 1: Grad-CAM (Selvaraju et al. 2017) of the last feature map.
    // With global average pooling and one dense layer behind it, it is the class activation map of Zhou et al. 2016.
    classMap(outputs, label) {
      const { map } = this.description;
      let gradient = value(1, 1, this.description.classes.length);
      gradient.data[label] = 1;
      for (let index = outputs.length - 1; index > map; index--) {
        const op = this.operations[index], input = outputs[op.inputs[0]];
        gradient = BACKWARD[op.kind](input, gradient, op);
      }
      const features = outputs[map], { h, w, c } = features, weights = new Float64Array(c), found = new Float64Array(h * w);
      for (let i = 0; i < gradient.data.length; i++) weights[i % c] += gradient.data[i] / (h * w);
      for (let i = 0; i < features.data.length; i++) found[Math.floor(i / c)] += features.data[i] * weights[i % c];
      return { h, w, data: scaled(found) };
    }

    // The same without gradients, for networks without such a feature map: how much less probable the class is when a
    // square of the image is covered by mean pixels (Zeiler & Fergus 2014).
    occlusionMap(pixels, label, steps = 6) {
      const [h, w, c] = this.description.shape, { scale, offset } = this.description;
      const whole = this.run(pixels).logits[label], found = new Float64Array(steps * steps);
      for (let i = 0; i < steps; i++)
        for (let j = 0; j < steps; j++) {
          const covered = Float32Array.from(pixels);
          for (let r = Math.floor((i * h) / steps); r < Math.ceil(((i + 1) * h) / steps); r++)
            for (let s = Math.floor((j * w) / steps); s < Math.ceil(((j + 1) * w) / steps); s++)
              for (let d = 0; d < c; d++) covered[(r * w + s) * c + d] = -offset[d] / scale[d];
          found[i * steps + j] = whole - this.run(covered).logits[label];
        }
      return { h: steps, w: steps, data: scaled(found) };
    }
  }

  function scaled(numbers) {
    const most = Math.max(...numbers, 0);
    return numbers.map((each) => (most > 0 ? Math.max(each, 0) / most : 0));
  }

  // Filters of Pillow's resampling: how far they reach, and their weights.
  const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
  const FILTERS = {
    lanczos: [3, (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)],
    triangle: [1, (x) => Math.max(1 - Math.abs(x), 0)],
    box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  };

  // Resampling as Pillow does it, wider where it reduces: pixels (h, w, c) from 0 to 255 to another size.
  function resized(pixels, h, w, c, height, width, filter = "lanczos") {
    const across = resampled(pixels, h, w, c, width, 1, FILTERS[filter]);
    return resampled(across, h, width, c, height, 0, FILTERS[filter]);
  }

  function resampled(pixels, h, w, c, size, axis, [support, weight]) {
    const old = axis ? w : h;
    if (old === size) return pixels;
    const scale = old / size, reach = support * Math.max(scale, 1);
    const out = new Uint8ClampedArray(axis ? h * size * c : size * w * c);
    for (let i = 0; i < size; i++) {
      const centre = (i + 0.5) * scale, first = Math.max(0, Math.floor(centre - reach + 0.5));
      const last = Math.min(old, Math.floor(centre + reach + 0.5)), weights = [];
      for (let k = first; k < last; k++) {
        weights.push(weight((k - centre + 0.5) / Math.max(scale, 1)));
      }
      const sum = weights.reduce((a, b) => a + b, 0);
      for (let other = 0; other < (axis ? h : w); other++)
        for (let d = 0; d < c; d++) {
          let value = 0;
          for (let k = 0; k < weights.length; k++)
            value += weights[k] * pixels[(axis ? (other * w + first + k) * c : ((first + k) * w + other) * c) + d];
          out[(axis ? (other * size + i) * c : (i * w + other) * c) + d] = Math.floor(value / sum + 0.5);
        }
    }
    return out;
  }

  // RGBA pixels of a canvas as (h, w, 1) grey by the weights of ITU-R 601, as Pillow rounds them, or (h, w, 3).
  function channels(rgba, count) {
    const found = new Uint8ClampedArray((rgba.length / 4) * count);
    for (let i = 0, at = 0; i < rgba.length; i += 4) {
      if (count === 1) found[at++] = (rgba[i] * 19595 + rgba[i + 1] * 38470 + rgba[i + 2] * 7471 + 0x8000) >> 16;
      else for (let d = 0; d < 3; d++) found[at++] = rgba[i + d];
    }
    return found;
  }

  return { Network, resized, channels };
})();

if (typeof module !== "undefined") module.exports = Engine;
