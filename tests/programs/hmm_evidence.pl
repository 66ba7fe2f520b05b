% The same hidden Markov model: states after a sequence of observed sounds (smoothing and prediction).
%% answer: state(1,high)  0.8365113910907893
%% answer: state(2,high)  0.8748477527304674
%% answer: state(3,high)  0.549939101092187
%% answer: sound(3,loud)  0.4574604157099215

0.7::state(0, low); 0.3::state(0, high).
0.8::state(T, low); 0.2::state(T, high) :- T > 0, S is T - 1, state(S, low).
0.4::state(T, low); 0.6::state(T, high) :- T > 0, S is T - 1, state(S, high).
0.9::sound(T, quiet); 0.1::sound(T, loud) :- state(T, low).
0.25::sound(T, quiet); 0.75::sound(T, loud) :- state(T, high).

query(state(1, high)).
query(state(2, high)).
query(state(3, high)).
query(sound(3, loud)).
evidence(sound(0, quiet)).
evidence(sound(1, loud)).
evidence(sound(2, loud)).
