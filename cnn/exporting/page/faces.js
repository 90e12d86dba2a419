"use strict";
// Finds faces by MTCNN (Zhang et al. 2016), as cnn/photos/mtcnn.py does: pnet proposes boxes in the photograph in many
// sizes, rnet and onet look at each, drop those without a face and move the others.

const Faces = (() => {
  const CELL = 12, STRIDE = 2, STEP = 0.709, PROPOSED = 0.6, REFINED = 0.7, MOST = 1000;

  class Detector {
    // description: a list of operations for each network, the numbers of the outputs, and the side of a crop.
    constructor(description, bytes) {
      this.crop = description.crop;
      this.threshold = description.threshold;
      this.networks = {};
      for (const name of ["pnet", "rnet", "onet"]) this.networks[name] = new Engine.Network(description[name], bytes);
    }

    // Square frames of the faces in pixels (h, w, 3), the likeliest first; the smallest face that is found has `smallest`
    // pixels.
    find(pixels, h, w, smallest = 24) {
      let boxes = [];
      for (let scale = CELL / Math.max(smallest, CELL); Math.min(h, w) * scale >= CELL; scale *= STEP)
        boxes.push(...this.proposed(pixels, h, w, scale));
      boxes = distinct(boxes, 0.7).map(square);
      boxes = distinct(this.seen("rnet", 24, pixels, h, w, boxes, REFINED), 0.7).map(square);
      boxes = distinct(this.seen("onet", 48, pixels, h, w, boxes, this.threshold), 0.7, true);
      return boxes.map((box) => {
        const side = Math.max(1, Math.round(this.crop * Math.sqrt(Math.max(box.r - box.l, 1) * Math.max(box.b - box.t, 1))));
        return { x: Math.round((box.l + box.r - side) / 2), y: Math.round((box.t + box.b - side) / 2), w: side, h: side, score: box.score };
      });
    }

    proposed(pixels, h, w, scale) {
      const height = Math.ceil(h * scale), width = Math.ceil(w * scale), network = this.networks.pnet;
      const outputs = network.outputs(Engine.resized(pixels, h, w, 3, height, width, "box"), height, width);
      const [moves, scores] = outputs.slice(-2), found = [];
      for (let i = 0; i < scores.h; i++)
        for (let j = 0; j < scores.w; j++) {
          const at = i * scores.w + j, score = face(scores.data, 2 * at);
          if (score <= PROPOSED) continue;
          const l = (j * STRIDE) / scale, t = (i * STRIDE) / scale, side = CELL / scale;
          found.push(moved({ l, t, r: l + side, b: t + side, score }, moves.data, 4 * at));
        }
      return distinct(found, 0.5);
    }

    // The boxes in which a network sees a face, moved.
    seen(name, side, pixels, h, w, boxes, least) {
      const found = [];
      for (const box of boxes) {
        const outputs = this.networks[name].outputs(cut(pixels, h, w, box, side), side, side);
        const [moves, scores] = outputs.slice(-2), score = face(scores.data, 0);
        if (score > least) found.push(moved({ ...box, score }, moves.data, 0));
      }
      return found;
    }
  }

  const face = (data, at) => 1 / (1 + Math.exp(data[at] - data[at + 1]));

  function moved(box, moves, at) {
    const w = box.r - box.l, h = box.b - box.t;
    return {
      l: box.l + moves[at] * w, t: box.t + moves[at + 1] * h, r: box.r + moves[at + 2] * w, b: box.b + moves[at + 3] * h,
      score: box.score,
    };
  }

  function square(box) {
    const half = Math.max(box.r - box.l, box.b - box.t) / 2, x = (box.l + box.r) / 2, y = (box.t + box.b) / 2;
    return { l: x - half, t: y - half, r: x + half, b: y + half, score: box.score };
  }

  // A square box in side x side pixels; black beyond the border.
  function cut(pixels, h, w, box, side) {
    const left = Math.floor(box.l), top = Math.floor(box.t), extent = Math.max(1, Math.round(box.r - box.l));
    const part = new Uint8ClampedArray(extent * extent * 3);
    const x0 = Math.max(left, 0), x1 = Math.min(left + extent, w);
    for (let y = Math.max(top, 0); y < Math.min(top + extent, h) && x0 < x1; y++)
      part.set(pixels.subarray((y * w + x0) * 3, (y * w + x1) * 3), ((y - top) * extent + x0 - left) * 3);
    return Engine.resized(part, extent, extent, 3, side, side, "triangle");
  }

  // Non-maximum suppression: a box is dropped if it shares more than `most` of the union, or of the smaller of the two,
  // with a likelier one.
  function distinct(boxes, most, smaller = false) {
    const area = (box) => Math.max(box.r - box.l, 0) * Math.max(box.b - box.t, 0), kept = [];
    for (const box of [...boxes].sort((a, b) => b.score - a.score).slice(0, MOST)) {
      const clear = kept.every((other) => {
        const w = Math.min(box.r, other.r) - Math.max(box.l, other.l), h = Math.min(box.b, other.b) - Math.max(box.t, other.t);
        const common = Math.max(w, 0) * Math.max(h, 0), one = area(box), two = area(other);
        return common <= most * (smaller ? Math.min(one, two) : one + two - common);
      });
      if (clear) kept.push(box);
    }
    return kept;
  }

  return { Detector };
})();

if (typeof module !== "undefined") module.exports = { Faces };
