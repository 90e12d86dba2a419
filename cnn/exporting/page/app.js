"use strict";
// The page: images from files, drops, examples and the camera; a frame on them; what the network says of the frame.

(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const decoded = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const started = performance.now();
  const network = new Engine.Network(data.network, decoded(data.weights));
  const [height, width, count] = data.network.shape;
  const detector = data.faces && typeof Faces !== "undefined" ? new Faces.Detector(data.faces, decoded(data.faces.weights)) : null;
  const photo = $("photo"), pen = photo.getContext("2d", { willReadFrequently: true });
  const percent = (p) => `${(100 * p).toFixed(1)} %`;

  let source = null; // what is drawn: an image, a canvas or the video
  let size = [1, 1]; // of the source, in its pixels: width, height
  let frame = { x: 0, y: 0, w: 1, h: 1 }; // in the source's pixels
  let boxes = []; // frames that the detector has found
  let stream = null, video = null;
  let runs = 0;

  // --- the network on the frame -------------------------------------------------------------------------------------

  function framed() {
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(frame.w));
    canvas.height = Math.max(1, Math.round(frame.h));
    const own = canvas.getContext("2d", { willReadFrequently: true });
    own.fillStyle = "#fff"; // transparency is white, as in training
    own.fillRect(0, 0, canvas.width, canvas.height);
    own.drawImage(source, -Math.round(frame.x), -Math.round(frame.y), size[0], size[1]);
    const rgba = own.getImageData(0, 0, canvas.width, canvas.height).data;
    const pixels = Engine.channels(rgba, count);
    return Engine.resized(pixels, canvas.height, canvas.width, count, height, width);
  }

  function predict() {
    if (!source) return;
    const before = performance.now(), pixels = framed(), found = network.run(pixels);
    const took = performance.now() - before;
    const best = found.probabilities.indexOf(Math.max(...found.probabilities));
    runs += 1;
    $("result").dataset.probabilities = JSON.stringify(found.probabilities);
    $("result").dataset.runs = String(runs);
    $("label").textContent = data.network.classes[best];
    $("probability").textContent = percent(found.probabilities[best]);
    found.probabilities.forEach((p, index) => {
      bars[index].fill.style.width = `${100 * p}%`;
      bars[index].number.textContent = percent(p);
      bars[index].row.classList.toggle("best", index === best);
    });
    $("time").textContent = `${took.toFixed(0)} ms`;
    if (runs === 1) $("first").textContent = `${(performance.now() - started).toFixed(0)} ms`;
    $("seen").hidden = false;
    if ($("overlay").checked || !stream) show(pixels, found, best);
  }

  // The network's input, and over it where the class was seen.
  function show(pixels, found, best) {
    const overlay = $("overlay").checked;
    const map = !overlay ? null : data.network.map === null
      ? (stream ? null : network.occlusionMap(pixels, best)) : network.classMap(found.outputs, best);
    const canvas = $("input"), own = canvas.getContext("2d"), image = own.createImageData(width, height);
    canvas.width = width;
    canvas.height = height;
    for (let r = 0; r < height; r++)
      for (let c = 0; c < width; c++) {
        const at = r * width + c, heat = map ? bilinear(map, (r + 0.5) / height, (c + 0.5) / width) : 0;
        const warm = [255, 140, 0], strength = 0.75 * heat;
        for (let d = 0; d < 3; d++) {
          const pixel = pixels[at * count + (count === 3 ? d : 0)];
          image.data[at * 4 + d] = pixel * (1 - strength) + warm[d] * strength;
        }
        image.data[at * 4 + 3] = 255;
      }
    own.putImageData(image, 0, 0);
    canvas.setAttribute("aria-label", map
      ? `The network's input; orange where it saw ${data.network.classes[best]}` : "The network's input");
    $("input").dataset.map = map ? JSON.stringify(Array.from(map.data)) : "";
  }

  function bilinear(map, y, x) {
    const r = Math.min(Math.max(y * map.h - 0.5, 0), map.h - 1), c = Math.min(Math.max(x * map.w - 0.5, 0), map.w - 1);
    const r0 = Math.floor(r), c0 = Math.floor(c), r1 = Math.min(r0 + 1, map.h - 1), c1 = Math.min(c0 + 1, map.w - 1);
    const at = (i, j) => map.data[i * map.w + j];
    const top = at(r0, c0) + (at(r0, c1) - at(r0, c0)) * (c - c0), low = at(r1, c0) + (at(r1, c1) - at(r1, c0)) * (c - c0);
    return top + (low - top) * (r - r0);
  }

  const bars = data.network.classes.map((name) => {
    const row = document.createElement("li"), label = document.createElement("span");
    const track = document.createElement("span"), fill = document.createElement("span"), number = document.createElement("span");
    label.textContent = name;
    label.className = "name";
    track.className = "track";
    fill.className = "fill";
    number.className = "number";
    number.textContent = "–";
    track.append(fill);
    row.append(label, track, number);
    $("bars").append(row);
    return { row, fill, number };
  });

  // --- the frame ----------------------------------------------------------------------------------------------------

  const whole = () => ({ x: 0, y: 0, w: size[0], h: size[1] });

  function centred() {
    const [w, h] = size, ratio = width / height;
    if (Math.abs(w / h / ratio - 1) < 0.05) return whole();
    const wide = Math.min(w, h * ratio);
    return { x: (w - wide) / 2, y: (h - wide / ratio) / 2, w: wide, h: wide / ratio };
  }

  function moved(change) {
    const least = 8, wide = Math.min(Math.max(change.w ?? frame.w, least), size[0]);
    const tall = Math.min(change.h ?? (change.w ? (wide * height) / width : frame.h), size[1]);
    const x = Math.min(Math.max(change.x ?? frame.x, 0), size[0] - wide), y = Math.min(Math.max(change.y ?? frame.y, 0), size[1] - tall);
    frame = { x, y, w: wide, h: tall };
    $("extent").value = String(Math.round((100 * wide) / size[0]));
    draw();
    predict();
  }

  function draw() {
    if (!source) return;
    const scale = photo.width / size[0];
    pen.clearRect(0, 0, photo.width, photo.height);
    pen.drawImage(source, 0, 0, photo.width, photo.height);
    const [x, y, w, h] = [frame.x, frame.y, frame.w, frame.h].map((each) => each * scale);
    pen.fillStyle = "rgba(0, 0, 0, 0.5)";
    pen.beginPath();
    pen.rect(0, 0, photo.width, photo.height);
    pen.rect(x, y, w, h);
    pen.fill("evenodd");
    pen.lineWidth = 2;
    pen.strokeStyle = "#fff";
    for (const box of boxes) pen.strokeRect(box.x * scale, box.y * scale, box.w * scale, box.h * scale);
    pen.strokeStyle = "#ff8c00";
    pen.strokeRect(x + 1, y + 1, Math.max(w - 2, 1), Math.max(h - 2, 1));
    pen.fillStyle = "#ff8c00";
    pen.fillRect(x + w - 12, y + h - 12, 12, 12);
  }

  function display(next, w, h, note) {
    source = next;
    size = [w, h];
    const most = Math.min(1, 640 / w, 480 / h);
    photo.width = Math.max(480, Math.round(w * most));
    photo.height = Math.max(1, Math.round((photo.width * h) / w));
    pen.imageSmoothingEnabled = w > photo.width;
    photo.hidden = false;
    $("empty").hidden = true;
    boxes = [];
    moved(centred());
    $("message").textContent = note;
    if (detector) search(next);
  }

  // Look for faces once the image is shown. An image hardly larger than the network's is a face already.
  function search(shown) {
    const small = Math.max(...size) < 2 * Math.max(height, width);
    $("faces").hidden = false;
    $("faces").textContent = small ? "This image is so small that all of it is taken as one face." : "Looking for faces …";
    if (!small)
      setTimeout(() => {
        if (source !== shown || stream) return;
        find();
        if (boxes[0]) moved(boxes[0]);
        else draw();
      }, 30);
  }

  // The faces in the source as frames, the likeliest first.
  function find() {
    const scale = Math.min(1, (stream ? 320 : 480) / Math.max(...size)), canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(size[0] * scale));
    canvas.height = Math.max(1, Math.round(size[1] * scale));
    const own = canvas.getContext("2d", { willReadFrequently: true });
    own.drawImage(source, 0, 0, canvas.width, canvas.height);
    const { data: rgba } = own.getImageData(0, 0, canvas.width, canvas.height);
    const least = stream ? Math.max(24, Math.max(canvas.width, canvas.height) / 6) : 24; // near the camera: faster
    boxes = detector.find(Engine.channels(rgba, 3), canvas.height, canvas.width, least).map((box) => ({
      x: box.x / scale, y: box.y / scale, w: ((box.h / scale) * width) / height, h: box.h / scale,
    }));
    const many = boxes.length > 1 ? `${boxes.length} faces found: choose one by a click.` : "One face found.";
    $("faces").textContent = boxes.length ? many : "No face found: drag the frame yourself.";
  }

  let held = null;
  const place = (event) => {
    const area = photo.getBoundingClientRect();
    return [((event.clientX - area.left) / area.width) * size[0], ((event.clientY - area.top) / area.height) * size[1]];
  };
  photo.addEventListener("pointerdown", (event) => {
    const [x, y] = place(event), near = (30 * size[0]) / photo.getBoundingClientRect().width;
    const corner = Math.abs(x - frame.x - frame.w) < near && Math.abs(y - frame.y - frame.h) < near;
    const box = boxes.find((each) => x > each.x && y > each.y && x < each.x + each.w && y < each.y + each.h);
    if (box && !corner) moved(box);
    else if (!corner && (x < frame.x || y < frame.y || x > frame.x + frame.w || y > frame.y + frame.h))
      moved({ x: x - frame.w / 2, y: y - frame.h / 2 });
    held = { corner, x: x - frame.x, y: y - frame.y };
    photo.setPointerCapture(event.pointerId);
  });
  photo.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [x, y] = place(event);
    moved(held.corner ? { w: Math.max(x - frame.x, 1) } : { x: x - held.x, y: y - held.y });
  });
  for (const name of ["pointerup", "pointercancel"]) photo.addEventListener(name, () => (held = null));
  photo.addEventListener("keydown", (event) => {
    const step = Math.max(1, size[0] / 50);
    const change = {
      ArrowLeft: { x: frame.x - step }, ArrowRight: { x: frame.x + step },
      ArrowUp: { y: frame.y - step }, ArrowDown: { y: frame.y + step },
      "+": { w: frame.w * 1.1 }, "-": { w: frame.w / 1.1 },
    }[event.key];
    if (!change || !source) return;
    event.preventDefault();
    moved(change);
  });
  $("extent").addEventListener("input", (event) => source && moved({ w: (Number(event.target.value) / 100) * size[0] }));
  $("whole").addEventListener("click", () => source && moved(whole()));
  $("overlay").addEventListener("change", predict);

  // --- where images come from ---------------------------------------------------------------------------------------

  const LARGEST = 64_000_000; // pixels

  async function open(file) {
    stop();
    try {
      const image = await createImageBitmap(file);
      if (image.width * image.height > LARGEST) throw new Error("too large");
      display(image, image.width, image.height, file.name || "");
    } catch (error) {
      $("message").textContent = `${file.name || "This file"} is not an image that this browser reads.`;
      $("message").dataset.error = String(error);
    }
  }

  $("file").addEventListener("change", (event) => event.target.files[0] && open(event.target.files[0]));
  for (const name of ["dragover", "dragenter"])
    document.addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.add("over");
    });
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    const file = event.dataTransfer.files[0];
    if (file) open(file);
    else $("message").textContent = "Drop a file, not a link: this page cannot load anything.";
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files][0];
    if (file) open(file);
  });

  for (const example of data.examples) {
    const button = document.createElement("button"), image = new Image();
    image.src = `data:image/png;base64,${example.png}`;
    image.alt = example.name;
    button.type = "button";
    button.append(image);
    button.addEventListener("click", async () => {
      stop();
      await image.decode();
      display(image, image.naturalWidth, image.naturalHeight, `Example: ${example.name}`);
    });
    $("examples").append(button);
  }

  function stop() {
    if (!stream) return;
    for (const track of stream.getTracks()) track.stop();
    stream = video = null;
    $("camera").textContent = "Use the camera";
    $("camera").setAttribute("aria-pressed", "false");
  }

  async function watch() {
    if (stream) return stop();
    if (!navigator.mediaDevices) {
      $("message").textContent = "This browser gives no camera to a page opened from disk: use python -m cnn.serve.";
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: "user" } });
    } catch (error) {
      $("message").textContent = error.name === "NotAllowedError"
        ? "The camera was not allowed." : "No camera was found.";
      return;
    }
    video = document.createElement("video");
    video.srcObject = stream;
    video.muted = true;
    video.playsInline = true;
    await video.play();
    $("camera").textContent = "Stop the camera";
    $("camera").setAttribute("aria-pressed", "true");
    display(video, video.videoWidth, video.videoHeight, "Camera: nothing is recorded.");
    let last = 0, looked = 0;
    const next = (now) => {
      if (!stream) return;
      if (now - last > 120) {
        last = now;
        if (detector && now - looked > 600) {
          looked = now;
          find();
          if (boxes[0] && !held) frame = boxes[0];
        }
        draw();
        predict();
      }
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }
  $("camera").addEventListener("click", watch);

  // --- is this browser's arithmetic that of the training's? ---------------------------------------------------------

  function compare() {
    let worst = 0;
    for (const check of data.checks) {
      const found = network.run(decoded(check.pixels)).probabilities;
      found.forEach((p, index) => (worst = Math.max(worst, Math.abs(p - check.probabilities[index]))));
    }
    const right = worst <= data.tolerance;
    $("check").textContent = right
      ? `Checked just now: on ${data.checks.length} inputs this browser differs from the original network by at most ${worst.toExponential(1)} in a probability.`
      : `This browser computes other probabilities than the original network, by ${worst.toExponential(1)}: do not rely on them.`;
    $("check").classList.toggle("bad", !right);
    $("check").dataset.worst = String(worst);
  }

  if ($("examples").firstChild) $("examples").firstChild.click();
  setTimeout(compare, 500); // the first prediction comes first
})();
