"""What is measured of a model, and of the machine.

Accuracy, FLOPs and sizes are in `engine.evaluation`; energy and emissions in `engine.emissions`, which stands on the last three.

    yardstick       the dense base and the student by one rule
    timing          one clock for rivals, each in turn
    svm             a linear SVM on the same texts: the yardstick that costs a second
    calibration     how far a probability can be believed, and when to say not sure
    saliency        which words spoke for a topic
    tracker         CodeCarbon without its silences
    meter_folder    the temporary folder of a meter
    grids           how much CO2 a kilowatt-hour causes in each country
"""
