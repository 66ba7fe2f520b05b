% The same fact declared twice is two independent causes, not one.
%% answer: spark  0.51

0.3::spark.
0.3::spark.

query(spark).
