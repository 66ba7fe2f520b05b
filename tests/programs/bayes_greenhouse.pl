% A Bayesian network of the alarm shape: two causes, one alarm, two reports.
%% answer: alarm  0.2458
%% answer: fan_broken  0.1
%% answer: horn  0.211724
%% answer: message  0.25893
%% answer: soil_dry  0.3

0.3::soil_dry.
0.1::fan_broken.

0.95::alarm :- soil_dry, fan_broken.
0.6::alarm :- soil_dry, \+ fan_broken.
0.7::alarm :- \+ soil_dry, fan_broken.
0.01::alarm :- \+ soil_dry, \+ fan_broken.

0.9::message :- alarm.
0.05::message :- \+ alarm.
0.8::horn :- alarm.
0.02::horn :- \+ alarm.

query(soil_dry).
query(fan_broken).
query(alarm).
query(message).
query(horn).
