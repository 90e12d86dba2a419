// The geometry of a window that slides over a batch of NHWC images: convolution and pooling.
#pragma once

// Output pixel (i, j) reads input pixel (i * stride_h + r * dilation_h - top, j * stride_w + s * dilation_w - left)
// for tap (r, s). Field order as in structs.py.
struct Window2D {
  int n, h, w, c;  // the input: images, rows, columns, channels
  int p, q;        // rows and columns of the output
  int kh, kw;      // taps
  int stride_h, stride_w, dilation_h, dilation_w, top, left;
};
