% Three independent causes of one effect.
%% answer: cough  0.48784

0.5::flu.
0.2::cold.
0.1::allergy.

0.8::cough :- flu.
0.6::cough :- cold.
0.3::cough :- allergy.

query(cough).
