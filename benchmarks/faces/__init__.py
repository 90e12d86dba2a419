"""Finding faces in photographs: detectors compared on composed and on real photographs."""
